"""The device between line and plant: shows the plant's sensors as registers and hands its set-points to the plant.

Like many inverters it does not trust its master for ever: a set-point that is not written again within its time-out
falls to 0. Time is the bench's, so a week of time-outs passes in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from hil.faults import Display, Garbage, Shown
from hil.modbus_plant import Registers
from hil.named_devices import NamedPlantDevice
from hil.plant import Plant
from hil.registers import DeviceRegister


class SimulatedDevice:
    """Registers of one plant. `clock` is the bench's elapsed time in seconds."""

    def __init__(
        self,
        sensors: Sequence[DeviceRegister],
        set_points: Sequence[DeviceRegister],
        timeout_s: float,
        clock: Callable[[], float],
    ) -> None:
        self.sensors, self.set_points, self.timeout_s = sensors, set_points, timeout_s
        self.registers = Registers(holding={s.address: 0 for s in set_points})
        self._clock = clock
        self._written_s = {s.address: -timeout_s for s in set_points}
        self.write_count = 0

    def show(self, displays: Mapping[str, Display]) -> None:
        """Put what the sensors show into the input registers; a missing one is taken out (illegal address)."""
        with self.registers.lock:
            for sensor in self.sensors:
                match displays[sensor.name]:
                    case Shown(value=value):
                        self.registers.input[sensor.address] = sensor.encode(float(value[0]))
                    case Garbage(payload=payload):
                        self.registers.input[sensor.address] = int.from_bytes((payload * 2)[:2], "big")
                    case _:
                        self.registers.input.pop(sensor.address, None)

    def collect_writes(self) -> None:
        """Note when each set-point was last written."""
        for time_s, address, _ in self.registers.take_writes():
            self._written_s[address] = time_s
            self.write_count += 1

    def held(self) -> dict[str, float]:
        """The set-points now: as written, or 0 after the time-out."""
        return {s.name: self._mean(s, 0.0) for s in self.set_points}

    def mean(self, step_s: float) -> dict[str, float]:
        """Mean set-points over the coming step, in which the time-out may strike."""
        return {s.name: self._mean(s, step_s) for s in self.set_points}

    def _mean(self, set_point: DeviceRegister, step_s: float) -> float:
        value = set_point.decode(self.registers.holding[set_point.address])
        left_s = self._written_s[set_point.address] + self.timeout_s - self._clock()
        if step_s == 0.0:
            return value if left_s > 0.0 else 0.0
        return value * min(1.0, max(0.0, left_s / step_s))


class PlantDevices:
    """The gateway with what the bench wires itself, and the devices that are reached by their profiles."""

    def __init__(self, gateway: SimulatedDevice, named: Sequence[NamedPlantDevice] = ()) -> None:
        self.gateway, self.named = gateway, tuple(named)

    @property
    def elsewhere(self) -> frozenset[str]:
        """What these devices show."""
        return frozenset(name for device in self.named for name in device.spec.readings.values())

    def show(self, displays: Mapping[str, Display]) -> None:
        self.gateway.show(displays)
        for device in self.named:
            device.show(displays)

    def collect_writes(self) -> None:
        self.gateway.collect_writes()
        for device in self.named:
            device.collect_writes()

    def held(self) -> dict[str, float]:
        return self._merged(self.gateway.held(), 0.0)

    def mean(self, step_s: float) -> dict[str, float]:
        return self._merged(self.gateway.mean(step_s), step_s)

    def _merged(self, found: dict[str, float], span_s: float) -> dict[str, float]:
        for device in self.named:
            found |= device.held(span_s)
        return found


def plant_devices(
    plant: Plant, named: Sequence[NamedPlantDevice], timeout_s: float, clock: Callable[[], float]
) -> PlantDevices:
    """What is reached by a profile is not at the gateway."""
    away = {name for device in named for name in (*device.spec.readings.values(), *device.spec.settings.values())}
    sensors = [sensor for sensor in plant.sensors if sensor.name not in away]
    set_points = [point for point in plant.set_points if point.name not in away]
    return PlantDevices(SimulatedDevice(sensors, set_points, timeout_s, clock), named)
