"""nginx's proxies with one worker; the free version learns of a backend's health from traffic alone."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from attrs import frozen

from bench import programs
from bench.contestants.proxy import BACKLOG, CONNECTIONS, DESCRIPTORS, Place
from bench.errors import Failed

# Without a master process the worker's loop runs in the one process there is, which is ours to end. With
# several workers, each has a listening socket of its own, as ours have.
_CONFIG = """
{load_module}
daemon off;
master_process {master};
worker_processes {workers};
worker_rlimit_nofile {descriptors};
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections {connections}; }}
{serving}
"""

_STREAM = """\
stream {{
    log_format session '$time_iso8601 $remote_addr:$remote_port $upstream_addr $status '
                       '$bytes_received $bytes_sent $upstream_connect_time $session_time';
    access_log {access_log} session buffer=64k flush=1s;
    upstream web {{
        random two least_conn;
{backends}
    }}
    server {{
        listen 127.0.0.1:{port} backlog={backlog}{ssl}{reuseport};
{certificate}        proxy_connect_timeout 3s;
        proxy_timeout 1h;
        proxy_pass web;
    }}
}}
"""

# Neither bodies nor answers go by a file, and connections to the backends stay open: the best of its settings
# for this.
_HTTP = """\
http {{
    access_log {access_log} combined buffer=64k flush=1s;
    keepalive_requests 1000000000;
    client_max_body_size 0;
    client_body_temp_path {folder};
    proxy_temp_path {folder};
    fastcgi_temp_path {folder};
    uwsgi_temp_path {folder};
    scgi_temp_path {folder};
    upstream web {{
        random two least_conn;
{backends}
        keepalive 64;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog={backlog};
        location / {{
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_request_buffering off;
            proxy_max_temp_file_size 0;
            proxy_pass http://web;
        }}
    }}
}}
"""

# The version of TLS has to be asked for: before 1.23.4 nginx would stop at 1.2.
_TLS = """\
        ssl_certificate {file};
        ssl_certificate_key {file};
        ssl_protocols TLSv1.2 TLSv1.3;
"""

_OPENSSL = re.compile(r"(?<=running with )OpenSSL [\w.]+|(?<=built with )OpenSSL [\w.]+(?!.*running with)")
_MODULES = re.compile(r"--modules-path=(\S+)")
_BUILT_IN = re.compile(r"--with-stream(\s|$)")


@frozen
class Nginx:
    """nginx."""

    def version(self) -> str:
        """Give the version that is installed."""
        return programs.version([programs.path_of("nginx"), "-v"])

    def tls_library(self) -> str:
        """Give the version of OpenSSL that it was built or runs with."""
        # "built with A (running with B)" where the two differ.
        return programs.version([programs.path_of("nginx"), "-V"], _OPENSSL)

    def command(self, place: Place) -> list[str]:
        """Write its configuration and give its command."""
        path = programs.path_of("nginx")
        backends = [
            f"        server 127.0.0.1:{port} max_fails=3 fail_timeout=5s;" for port in place.backends
        ]
        serving = (_HTTP if place.http else _STREAM).format(
            access_log=place.access_log,
            folder=place.folder,
            backends="\n".join(backends),
            port=place.port,
            backlog=BACKLOG,
            reuseport=" reuseport" if place.workers > 1 else "",
            ssl=" ssl" if place.certificate else "",
            certificate=_TLS.format(file=place.certificate) if place.certificate else "",
        )
        config = place.write(
            "nginx.conf",
            _CONFIG.format(
                load_module="" if place.http else _load_module(path),
                master="on" if place.workers > 1 else "off",
                workers=place.workers,
                descriptors=DESCRIPTORS,
                folder=place.folder,
                # One for the client and one for the backend.
                connections=2 * CONNECTIONS,
                serving=serving,
            ),
        )
        return [path, "-p", f"{place.folder}", "-c", f"{config}", "-e", f"{place.folder}/error.log"]


def _load_module(path: str) -> str:
    """Give the line that loads the stream module; none where it is built in."""
    done = subprocess.run([path, "-V"], capture_output=True, text=True, timeout=10, check=True)
    if _BUILT_IN.search(done.stderr):
        return ""
    folder = _MODULES.search(done.stderr)
    module = Path(folder[1]) / "ngx_stream_module.so" if folder else None
    if module is None or not module.exists():
        raise Failed("nginx has no stream module here (Debian: libnginx-mod-stream)")
    return f"load_module {module};"
