"""A chat server on the loopback that does what a script says, and counts what it is asked."""

import json
import socket
import struct
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Scripted:
    """script(number of the request from 1, message) gives what happens: a text is the reply of a
    chat completion; (status, headers, body) is sent as it is; "DROP" closes the connection;
    "HALF" closes it in mid-answer; "HANG" answers nothing until the server ends; "DIE" drops the
    connection and ends the server."""

    def __init__(self, script, port=0):
        self.script, self.asked, self.headers = script, [], []
        self.answered = Counter()  # messages that got a label
        self.ends = threading.Event()
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self.server.daemon_threads = True
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ends.set()
        self.die()
        self.thread.join()

    def die(self):
        self.server.shutdown()
        self.server.server_close()

    def _handler(self):
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_):
                pass

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with scripted.lock:
                    scripted.asked.append(body)
                    scripted.headers.append({k.lower(): v for k, v in self.headers.items()})
                    number = len(scripted.asked)
                message = body["messages"][-1]["content"]
                happens = scripted.script(number, message)
                if happens in ("DROP", "DIE"):
                    # a reset, not an end
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                               struct.pack("ii", 1, 0))
                    self.connection.close()
                    self.close_connection = True
                    if happens == "DIE":
                        threading.Thread(target=scripted.die).start()
                elif happens == "HANG":
                    scripted.ends.wait(20)
                    self.close_connection = True
                elif isinstance(happens, tuple):
                    self.send(*happens)
                else:
                    self.complete(happens, message)

            def complete(self, happens, message):
                text = "" if happens == "HALF" else happens
                choice = {"index": 0, "message": {"role": "assistant", "content": text}}
                usage = {"prompt_tokens": 100, "completion_tokens": 5}
                data = json.dumps({"choices": [choice], "usage": usage}).encode()
                if happens == "HALF":
                    self.send_response(200)
                    self.send_header("content-length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data[: len(data) // 2])
                    self.close_connection = True
                else:
                    with scripted.lock:
                        scripted.answered[message] += 1
                    self.send(200, {}, data)

            def send(self, status, headers, data):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        return Handler
