"""The feeds on the bench: nisse's own process, the services that it asks, and the time before the scenario in which it
learns."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from hil.broker import Broker
from hil.lockstep import LockstepFeeds
from hil.mqtt_side import MqttSide
from hil.outside import Outside
from hil.plant import Plant

QUARTER_S = 900.0


@dataclass
class BenchFeeds:
    """`due_s`: when they want to do something next, Unix seconds of the bench's own clock."""

    process: LockstepFeeds
    outside: Outside
    due_s: float = 0.0
    _offset_s: float = 0.0

    def start(self, mqtt: MqttSide, broker: Broker) -> None:
        """(Re)start the process and wait until it can be reached."""
        mqtt.forget_feeds()
        self.process.start()
        self.due_s = 0.0
        if broker.running:
            mqtt.wait_feeds_online()

    def advance(self, time_s: float, offset_s: float, barrier: int | None) -> None:
        """Everything that is due up to `time_s`, each at its own time. offset_s: of the machine's clock."""
        if not self.process.running:
            return
        if offset_s != self._offset_s:
            self._offset_s, self.due_s = offset_s, 0.0
        while self.due_s <= time_s:
            self.outside.now_s = time_s if self.due_s == 0.0 else self.due_s
            due_s = self.process.step(self.outside.now_s + offset_s, barrier) - offset_s
            self.due_s, barrier = max(due_s, self.outside.now_s + 1.0), None
        self.outside.now_s = time_s

    def learn(self, plant: Plant, mqtt: MqttSide, learned_s: float, measured: tuple[str, ...]) -> None:
        """They watch the house before the scenario: its load and its panels, the battery and the machines at rest."""
        begin_s = plant.time_s() - learned_s
        world, house = plant.world, plant.house
        panels = {f"{pv.name}_kw": "pv" if len(house.of("pv")) == 1 else f"pv_{pv.name}" for pv in house.of("pv")}
        for k in range(round(learned_s / QUARTER_S)):
            now_s = begin_s + k * QUARTER_S
            row = world.row(world.step_at(datetime.fromtimestamp(now_s, UTC)))
            values = dict.fromkeys(measured, 0.0)
            values |= {name: row[column] for name, column in panels.items() if name in values}
            if "grid_power" in values:
                values["grid_power"] = row.get("load", 0.0) - sum(row[column] for column in panels.values())
            self.advance(now_s, 0.0, mqtt.barrier())
            mqtt.say_state({"inputs": {name: {"value": v, "validity": "ok"} for name, v in values.items()}})
