"""How values come in and set-points go out: MQTT, and serial devices."""
