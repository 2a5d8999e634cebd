"""A server on the loopback that speaks as much RTSP as a camera that sends MPEG-TS over TCP."""

import contextlib
import socketserver
import struct
import threading
import time

_DESCRIPTION = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 33\r\na=control:track0\r\n"
)
_PACKETS = 188 * 7  # of MPEG-TS in one of RTP


@contextlib.contextmanager
def serving(content, pause=0.003):
    """Yields the address of `content`, whose packets are sent with a pause between."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            while line := self.rfile.readline().decode():
                method = line.split()[0]
                fields = dict(iter(self._field, None))
                if method == "SETUP" and "TCP" not in fields["transport"]:
                    self._reply(fields, status="461 Unsupported Transport")
                elif method == "SETUP":
                    transport = "RTP/AVP/TCP;unicast;interleaved=0-1"
                    self._reply(fields, f"Transport: {transport}\r\n")
                elif method == "DESCRIBE":
                    self._reply(fields, "Content-Type: application/sdp\r\n", _DESCRIPTION)
                else:
                    self._reply(fields)
                if method == "PLAY":
                    self._play()
                    return

        def _field(self):
            name, colon, value = self.rfile.readline().decode().partition(":")
            return (name.lower(), value.strip()) if colon else None

        def _reply(self, fields, more="", body="", status="200 OK"):
            head = f"RTSP/1.0 {status}\r\nCSeq: {fields['cseq']}\r\nSession: 1\r\n{more}"
            self.wfile.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())

        def _play(self):
            for number, place in enumerate(range(0, len(content), _PACKETS)):
                head = struct.pack(">BBHII", 0x80, 33, number & 0xFFFF, number * 450, 1)
                packet = head + content[place : place + _PACKETS]
                with contextlib.suppress(OSError):  # whoever watched has gone
                    self.wfile.write(b"$\0" + struct.pack(">H", len(packet)) + packet)
                time.sleep(pause)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"rtsp://127.0.0.1:{server.server_address[1]}/camera"
        server.shutdown()
