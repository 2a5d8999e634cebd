"""A publisher on the loopback, whose files and faults a test decides."""

import contextlib
import http.server
import threading
import time


class Publisher:
    """Serves `content` under every name.

    Attributes:
        content: The bytes of each answer; None for the answer 404.
        missing: How many of the bytes that it announces it keeps back.
        silence: Seconds that it then goes on to say nothing.
        requests: How many it has answered.
    """

    def __init__(self, content):
        self.content, self.missing, self.requests, self.silence = content, 0, 0, 0
        self.address = None


@contextlib.contextmanager
def publishing(content):
    """Yields a `Publisher` whose `address` is a folder."""
    publisher = Publisher(content)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            publisher.requests += 1
            if publisher.content is None:
                return self.send_error(404)
            self.send_response(200)
            self.send_header("Content-Length", str(len(publisher.content)))
            self.end_headers()
            self.wfile.write(publisher.content[: len(publisher.content) - publisher.missing])
            self.wfile.flush()
            time.sleep(publisher.silence)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    publisher.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield publisher
    finally:
        server.shutdown()
        server.server_close()
