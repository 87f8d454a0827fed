"""The far end of a serial line that answers every request with whatever it likes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from hil.serial_line import SerialLine


class Answering:
    """Answers every request on the line with whatever `answer` makes of it."""

    def __init__(self, line: SerialLine, answer: Callable[[bytes], bytes]) -> None:
        assert line.plant_fd is not None
        self._fd, self._answer, self._running = line.plant_fd, answer, True
        self.answered = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while self._running:
            try:
                request = os.read(self._fd, 512)
            except BlockingIOError:
                time.sleep(0.0005)
                continue
            os.write(self._fd, self._answer(request))
            self.answered += 1

    def stop(self) -> None:
        self._running = False
        self._thread.join()
