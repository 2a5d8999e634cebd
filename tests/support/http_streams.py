"""A server on the loopback that sends a stream as a camera does: slowly, and maybe without end."""

import contextlib
import http.server
import threading
import time


@contextlib.contextmanager
def serving(content, kind="video/mp2t", pause=0.01, endless=False, length=None, chunk=188 * 20):
    """Yields the address of `content`.

    Args:
        content: The bytes, from the beginning for each client.
        kind: The content's type.
        pause: Seconds between two chunks.
        endless: Keeps the connection open behind the last byte, as a camera in the dark.
        length: What the server says that it sends; None for the truth.
        chunk: Bytes that are sent at once.
    """
    ended = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", kind)
            if not endless:  # so that its end is no fault
                self.send_header("Content-Length", str(length or len(content)))
            self.end_headers()
            with contextlib.suppress(OSError):  # whoever watched has gone
                for place in range(0, len(content), chunk):
                    self.wfile.write(content[place : place + chunk])
                    time.sleep(pause)
                if endless:
                    ended.wait(120)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/stream"
    finally:
        ended.set()
        server.shutdown()
        server.server_close()
