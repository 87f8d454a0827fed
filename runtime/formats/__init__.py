"""What files and messages are made of: durations, units, schedules, profiles, TOML with its lines, from any bytes."""
