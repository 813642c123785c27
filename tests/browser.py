"""Chromium without a window, told what to do through two pipes (the DevTools protocol)."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Chromium reads messages from descriptor 3 and answers on 4; each ends in a zero byte.
PIPES = 'exec "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1'
FLAGS = (
    "--headless",
    "--no-sandbox",  # which root can't have
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--no-first-run",
    "--remote-debugging-pipe",
)


LOADED = """new Promise((done) => document.readyState === "complete" ? done() : onload = done)"""


class Page:
    """A page in a browser of its own; `with` closes it.

    Whatever the page's scripts throw is raised here as RuntimeError, by the next call.
    """

    def __init__(self, profile: Path) -> None:
        program = next(filter(None, map(shutil.which, NAMES)), None)
        assert program, "Chromium is missing: apt-get install chromium"
        command = [program, *FLAGS, f"--user-data-dir={profile}"]
        self.process = subprocess.Popen(
            ["sh", "-c", PIPES, "sh", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.session: dict[str, str] = {}
        self.sent, self.waiting, self.thrown = 0, b"", []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = {"sessionId": attached["sessionId"]}
        self.call("Page.enable")
        self.call("Runtime.enable")

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.communicate()

    def call(self, method: str, **params: Any) -> Any:
        """Ask for something and wait for the answer."""
        self.sent += 1
        message = {"id": self.sent, "method": method, "params": params, **self.session}
        self.process.stdin.write(json.dumps(message).encode() + b"\0")
        self.process.stdin.flush()
        while (answer := self.receive()).get("id") != self.sent:
            if answer.get("method") == "Runtime.exceptionThrown":
                self.thrown.append(answer["params"]["exceptionDetails"])
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        if self.thrown:
            raise RuntimeError(self.thrown.pop()["exception"]["description"])
        return answer["result"]

    def receive(self) -> Any:
        while b"\0" not in self.waiting:
            more = self.process.stdout.read1(1 << 20)
            assert more, "Chromium has ended"
            self.waiting += more
        message, _, self.waiting = self.waiting.partition(b"\0")
        return json.loads(message)

    def open(self, path: Path) -> None:
        """Load a file, and wait until its scripts have run."""
        self.call("Page.navigate", url=path.as_uri())
        self.evaluate(LOADED)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in JavaScript, or of what it promises."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"]["description"])
        return answer["result"].get("value")

    def screenshot(self, path: Path) -> None:
        content = self.call("Page.captureScreenshot", captureBeyondViewport=False)["data"]
        path.write_bytes(base64.b64decode(content))
