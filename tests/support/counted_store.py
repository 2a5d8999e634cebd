"""Reads 16 clips from an imitation of an object store, and prints the bytes that were asked for.

    python counted_store.py gs|s3 FOLDER

The imitation holds the files of FOLDER, in which `write` has put a split. For gs:// it is a proxy
that speaks TLS under Google's names with the certificate FOLDER/store.pem.
"""

import dataclasses
import json
import os
import re
import ssl
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FRAME_BYTES, FRAMES, VIDEOS = 11_300, 64, 16
HOSTS = ("storage.googleapis.com", "www.googleapis.com")


class Store(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    files, asked, tls = {}, [], None

    def log_message(self, *_):
        pass

    def do_CONNECT(self):
        self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        self.connection = self.request = self.tls.wrap_socket(self.connection, server_side=True)
        self.setup()
        self.close_connection = False

    def do_HEAD(self):
        self.answer(200, b"", len(self.content() or b""))

    def do_GET(self):
        content = self.content()
        if content is None:
            return self.answer(404, b"")
        if "fields=" in self.path:
            about = {"size": str(len(content)), "updated": "2026-01-01T00:00:00.0Z"}
            return self.answer(200, json.dumps({**about, "generation": "1"}).encode())
        first, last = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"]).groups()
        first, end = int(first), int(last) + 1
        self.asked.append(end - first)
        part = content[first:end]
        place = {"Content-Range": f"bytes {first}-{first + len(part) - 1}/{len(content)}"}
        self.answer(206 if part else 416, part, **place)

    def content(self):
        return self.files.get(re.split(r"/|%2F", self.path.partition("?")[0])[-1])

    def answer(self, status, body, length=None, **headers):
        self.send_response(status)
        headers = {"Content-Length": str(length or len(body)), "ETag": '"1"', **headers}
        headers["Last-Modified"] = "Thu, 01 Jan 2026 00:00:00 GMT"
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def make_certificate(path):
    names = ",".join(f"DNS:{host}" for host in HOSTS)
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=store -addext"
    words = [*command.split(), f"subjectAltName={names}", "-keyout", path, "-out", f"{path}.crt"]
    subprocess.run(words, check=True, capture_output=True)
    with open(path, "a") as both, open(f"{path}.crt") as certificate:
        both.write(certificate.read())


def serve(kind, folder):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Store)
    address = f"http://127.0.0.1:{server.server_port}"
    if kind == "gs":
        pem = os.path.join(folder, "store.pem")
        make_certificate(pem)
        Store.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        Store.tls.load_cert_chain(pem)
        os.environ.update(https_proxy=address, CURL_CA_BUNDLE=f"{pem}.crt", no_proxy="")
        os.environ["GOOGLE_AUTH_TOKEN_FOR_TESTING"] = "token"
    else:
        os.environ.update(S3_ENDPOINT=address, AWS_REGION="us-east-1")
        os.environ.update(AWS_ACCESS_KEY_ID="key", AWS_SECRET_ACCESS_KEY="secret")
    threading.Thread(target=server.serve_forever, daemon=True).start()


def main(kind, folder):
    serve(kind, folder)
    from pipelines.input.clip_reader import ClipReader

    # isort: split
    import tensorflow as tf

    from pipelines.shards import records, split_index, split_writing
    from pipelines.system import filesystems

    filesystems.require(f"{kind}://bucket/data")
    videos = [
        records.EncodedVideo(
            str(n), 0, [b"\xff\xd8" + os.urandom(FRAME_BYTES - 2) for _ in range(FRAMES)], 9, 9, 25
        )
        for n in range(VIDEOS)
    ]
    rows = records.write_shard(split_index.shard_path(folder, "train", 0, 1), iter(videos))
    split_writing.write_split(folder, "train", [rows], ["one"], {})
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), "rb") as file:
            Store.files[name] = file.read()
    index = split_index.load_index(folder, "train")
    reader = ClipReader(dataclasses.replace(index, data_dir=f"{kind}://bucket/data"))
    numbers = tf.data.Dataset.range(VIDEOS)
    clips = numbers.map(lambda number: reader.open(number).read(0, 1, FRAMES))
    for clip, video in zip(clips.as_numpy_iterator(), videos):
        assert list(clip) == video.frames
    print(f"asked for {sum(Store.asked)} in {len(Store.asked)}", flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
