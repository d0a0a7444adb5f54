"""A hub on loopback, with as much of Hugging Face's API as reading a data set takes: python hub.py DIRECTORY."""

import http.server
import json
import pathlib
import re
import sys
from urllib.parse import unquote, urlsplit

ROOT = pathlib.Path(sys.argv[1])


class Hub(http.server.BaseHTTPRequestHandler):
    """Has the files of a directory as the data set `u/r`; all answers are what its file `refusal` says."""

    def log_message(self, *_):
        pass

    def answer(self, status, body, **headers):
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        refusal = ROOT / "refusal"
        if refusal.exists():
            self.answer(int(refusal.read_text()), b"{}")
        elif re.fullmatch(r"/api/datasets/u/r(/revision/main)?", path):
            self.answer(200, json.dumps({"id": "u/r", "sha": "a" * 40, "siblings": [], "tags": []}).encode())
        elif found := re.fullmatch(r"/api/datasets/u/r/tree/main/?(.*)", path):
            entries = [_entry(one) for one in sorted((ROOT / found[1]).glob("*"))]
            self.answer(200, json.dumps(entries).encode())
        elif (found := re.fullmatch(r"/datasets/u/r/resolve/main/(.*)", path)) and (ROOT / found[1]).is_file():
            self.send_part((ROOT / found[1]).read_bytes())
        else:
            self.answer(404, b"{}", X_Error_Code="EntryNotFound")

    def do_HEAD(self):
        self.do_GET()

    def send_part(self, data):
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        begin, end = (int(wanted[1]), min(int(wanted[2]) + 1, len(data))) if wanted else (0, len(data))
        headers = {"Content_Range": f"bytes {begin}-{end - 1}/{len(data)}"} if wanted else {}
        self.answer(206 if wanted else 200, data[begin:end], ETag='"x"', X_Repo_Commit="a" * 40, **headers)


def _entry(path):
    kind = {"type": "directory"} if path.is_dir() else {"type": "file"}
    return {**kind, "oid": "d" * 40, "size": path.stat().st_size, "path": str(path.relative_to(ROOT))}


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    print(server.server_port, flush=True)
    server.serve_forever(poll_interval=0.01)
