"""Commands that a command starts, without the five seconds that each takes to import TensorFlow.

With `before=warm_children.install` they are forked from a process that was forked itself before the
command imported anything of this project.
"""

import json
import os
import signal
import socket
import subprocess
import sys

import command_runner


def install():
    """In the process of a command, before the command; it may have one child at a time."""
    command, server = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        command.close()
        _serve(server)
        os._exit(0)
    server.close()
    subprocess.Popen = lambda words, stdout, stderr: _Child(command, words, stdout)
    subprocess.run = lambda words, stdout, stderr: subprocess.CompletedProcess(
        words, _Child(command, words, stdout).wait()
    )


class _Child:
    """What `subprocess.Popen` is to those who wait for it or end it."""

    def __init__(self, server, words, output):
        assert words[0] == sys.executable
        self._server = server
        message = json.dumps([str(word) for word in words[1:]])
        socket.send_fds(server, [message.encode()], [output.fileno()])
        self._pid = int(server.recv(100))

    def wait(self):
        return int(self._server.recv(100))

    def terminate(self):
        os.kill(self._pid, signal.SIGTERM)


def _serve(command):
    """Forks a process for each request, until the command has ended."""
    while True:
        message, outputs, *_ = socket.recv_fds(command, 1_000_000, 1)
        if not message:
            return
        pid = os.fork()
        if pid == 0:
            command.close()
            for number in (1, 2):
                os.dup2(outputs[0], number)
            command_runner.run_to_the_end(json.loads(message))
        os.close(outputs[0])
        try:
            command.send(str(pid).encode())
            _, status = os.waitpid(pid, 0)
            command.send(str(os.waitstatus_to_exitcode(status)).encode())
        except OSError:
            return  # the command was killed
