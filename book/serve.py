"""Build the book, show it at localhost, and build it again whenever a source changes; the browser reloads by itself.

`make serve` runs it.  ``python book/serve.py PORT COMMAND...``, where the command builds the book.
"""

import http.server
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HTML = ROOT / "_build" / "html"
SOURCES = ("book", "notebooks", "maa", "results", "_config.yml", "_toc.yml", "constraints.txt")
SUFFIXES = {".md", ".ipynb", ".py", ".json", ".yml", ".txt", ".bib", ".css", ".svg", ".js", ".png", ".jpg", ".webp", ".html"}

#: A page asks once a second which build it is, and reloads when there is a newer one.
RELOAD = b"""<script>
  let build;
  setInterval(async () => {
    try {
      const now = await (await fetch("/build", {cache: "no-store"})).text();
      if (build && now !== build) location.reload();
      build = now;
    } catch { /* the server is away: go on asking */ }
  }, 1000);
</script>"""


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files as they are, but for pages, which get the script that reloads them; and /build, the number of the build."""

    build = 0

    def send_head(self):
        path = Path(self.translate_path(self.path))
        path = path / "index.html" if self.path.endswith("/") else path
        if self.path == "/build":
            return self.reply(str(Handler.build).encode(), "text/plain")
        if path.suffix == ".html" and path.is_file():
            return self.reply(path.read_bytes() + RELOAD, "text/html; charset=utf-8")
        return super().send_head()

    def reply(self, content: bytes, kind: str) -> BytesIO:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        return BytesIO(content)

    def end_headers(self):
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, *_):
        """Nothing: the terminal is for the build."""


def state() -> dict[Path, float]:
    """When each source of the book was last changed."""
    found = {}
    for source in (ROOT / name for name in SOURCES):
        for path in [source] if source.is_file() else source.rglob("*"):
            if path.suffix in SUFFIXES and not any(part in (".ipynb_checkpoints", "runs") for part in path.parts):
                with suppress(FileNotFoundError):  # an editor's temporary file
                    found[path] = path.stat().st_mtime
    return found


def main(port: int, command: list[str]) -> None:
    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), partial(Handler, directory=HTML))
    except OSError as error:
        sys.exit(f"make: port {port} cannot be used ({error.strerror}); name another with 'make serve PORT=8001'")
    built = None
    while True:
        now = state()
        if now != built:
            done = subprocess.run(command, cwd=ROOT)
            # What changed while the book was built is seen in the next round.
            built, Handler.build = now, Handler.build + 1
            if done.returncode:
                print("The build has errors: see above.  The pages shown may be those of the build before.")
            if Handler.build == 1:
                threading.Thread(target=server.serve_forever, daemon=True).start()
            print(f"\nThe book: http://localhost:{port}   (rebuilt when a file changes; stop with Ctrl-C)", flush=True)
        time.sleep(1)


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), sys.argv[2:])
    except KeyboardInterrupt:
        print()
