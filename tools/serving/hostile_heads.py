"""What heads of requests should not be: methods, targets, versions, headers and fields that break servers."""

from __future__ import annotations

import random
from urllib.parse import quote_from_bytes

METHODS = (
    b"get", b"HEAD", b"PUT", b"PATCH", b"OPTIONS", b"TRACE", b"CONNECT", b"PROPFIND", b"DELETE", b"M-SEARCH", b"",
    b"GET\0", b"G\xc3\x89T", b"G" * 5000, b"GET GET", b"\xff\xfe", b"PRI",
)  # fmt: skip

VERSIONS = (
    b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/1.10", b"http/1.1", b"HTTP/1.1 ", b"HTTP/", b"",
    b"\xe2\x80\x8bHTTP/1.1",
)  # fmt: skip

TARGETS = (
    b"*", b"//", b"/../../etc/passwd", b"/..%2f..%2fetc%2fpasswd", b"/page/..%5c..%5cetc", b"/%2e%2e/%2e%2e/etc/passwd",
    b"/api/v1/../../../etc/passwd", b"/api%2fv1%2fmodels", b"/API/V1/MODELS", b"/api/v1/models/", b"//api/v1/models",
    b"/api//v1/models", b"/api/v1/jobs//", b"/api/v1/jobs/%00", b"/api/v1/jobs/%ff%fe", b"/api/v1/jobs/\xc3\xa9",
    b"/api/v1/jobs/..", b"/api/v1/jobs/%2e%2e/result", b"/api/v1/jobs/" + b"a" * 3000, b"/" + b"a" * 20000,
    b"/" + b"%41" * 30000, b"/" + b"a/" * 20000, b"/page/\xff\xfe", b"/page/%C0%AE%C0%AE/", b"/page/index.html%00.png",
    b"/runner/../index.html", b"/browser/../../../etc/passwd", b"/browser/%2e%2e/site.json", b"/browser/models/%00",
    b"/browser//etc/passwd", b"/browser/\\..\\site.json", b"/browser/" + b"x" * 5000, b"/site.json#token=x",
    b"/site.json;v=1", b"/?" + b"a=b&" * 5000, b"/%", b"/%zz", b"/%u0041", b"/\x7f", b"/\x01", b"/a b",
    b"api/v1/models", b"", b"?", b"http://evil.example/api/v1/models", b"http://[::1/api", b"https:///",
    b"file:///etc/passwd", b"/\\evil", b"/healthz/../api/v1/models", b"/healthz%2f..%2fapi%2fv1%2fjobs",
    b"/%F0%9F%98%80", b"/.git/config", b"/favicon.ico", b"/image/kernels.json", b"/sw.mjs", b"/page/", b"/docs/",
    b"/openapi.json?x", b"/browser", b"/browser/",
)  # fmt: skip

FORBIDDEN: tuple[tuple[bytes, bytes], ...] = (
    (b"Host", b"evil.example"), (b"Host", b"127.0.0.1"), (b"Host", b"127.0.0.1:1"), (b"Host", b""),
    (b"Host", b"127.0.0.1.evil.example:{port}"), (b"Host", b"{host}:{port}@evil.example"),
    (b"Host", b"evil.example, {host}:{port}"), (b"Host", b"{host}:{port}."), (b"Host", b"{host}:0{port}"),
    (b"Host", b"{host}:{port}/"), (b"Host", b"\xef\xbc\x91\xef\xbc\x92\xef\xbc\x97.0.0.1:{port}"),
    (b"Host", b"a" * 3000), (b"Origin", b"null"), (b"Origin", b"https://evil.example"),
    (b"Origin", b"http://{host}:{port}.evil.example"), (b"Origin", b"http://{host}:{port}/"),
    (b"Origin", b"https://{host}:{port}"), (b"Origin", b"file://"),
    (b"Origin", b"http://{host}:{port} http://evil.example"), (b"Origin", b"\xff"), (b"Origin", b""),
    (b"Sec-Fetch-Site", b"cross-site"), (b"Sec-Fetch-Site", b"same-site"), (b"Sec-Fetch-Site", b"same-origin, none"),
    (b"Sec-Fetch-Site", b"SAME-ORIGIN\xa0"), (b"Authorization", b"Bearer"), (b"Authorization", b"Bearer wrong"),
    (b"Authorization", b"Bearer {token}x"), (b"Authorization", b"Basic {token}"), (b"Authorization", b"{token}"),
    (b"Authorization", b"Bearer \xff\xfe"), (b"Authorization", b"Bearer " + b"x" * 20000), (b"Authorization", b""),
    (b"Authorization", b"Bearer \xc3\xa9\xe2\x82\xac"),
)  # fmt: skip
"""Headers with which nothing of the interface may be answered with success."""

ODD: tuple[tuple[bytes, bytes], ...] = (
    (b"Expect", b"100-continue"), (b"Expect", b"200-ok"), (b"Expect", b"100-Continue, x"), (b"Range", b"bytes=0-"),
    (b"Range", b"bytes=" + b"0-1," * 3000), (b"Range", b"bytes=-0"), (b"Range", b"bytes=5-1"), (b"Range", b"seats=1"),
    (b"Range", b"bytes=99999999999999999999-"), (b"If-Range", b"x"), (b"Accept", b""), (b"Accept", b"text/html"),
    (b"Accept", b"image/*"), (b"Accept", b"*/*;q=0"), (b"Accept", b"image/png;q=nan"), (b"Accept", b"image/png;q=1e9"),
    (b"Accept", b"image/webp, image/png;q=0.000001"), (b"Accept", b"," * 5000), (b"Accept", b"image/" + b"x" * 9000),
    (b"Accept", b"\xff\xfe/\x80"), (b"Accept", b"application/x-nss-mask"), (b"Accept", b"image/png;q=\xd9\xa1"),
    (b"Accept", b'image/png;a="b,c;q=0";q=0.5'), (b"Accept", b";;;"), (b"Accept", b"image/avif"), (b"Accept", b"/"),
    (b"Content-Type", b"text/html"), (b"Content-Type", b"image/png; charset=\xff"), (b"Content-Type", b""),
    (b"Content-Type", b"multipart/form-data; boundary=x"), (b"Content-Type", b"image/svg+xml"),
    (b"Content-Type", b"image/"), (b"Content-Type", b"image/" + b"x" * 8000),
    (b"Content-Type", b"application/octet-stream"), (b"Content-Type", b"image/png\r\nX-Split: yes"),
    (b"Content-Encoding", b"gzip"), (b"Content-Encoding", b"identity"), (b"Content-Encoding", b"br, gzip"),
    (b"Last-Event-ID", b"-1"), (b"Last-Event-ID", b"9" * 400), (b"Last-Event-ID", b"1e3"),
    (b"Last-Event-ID", b"\xc2\xb2"), (b"Last-Event-ID", b""), (b"Last-Event-ID", b"0"), (b"Last-Event-ID", b"5, 6"),
    (b"Connection", b"close"), (b"Connection", b"keep-alive, close, upgrade"), (b"Connection", b"Host, Authorization"),
    (b"Connection", b"Upgrade, HTTP2-Settings"), (b"Upgrade", b"websocket"), (b"Upgrade", b"h2c"),
    (b"HTTP2-Settings", b"AAMAAABkAAQAAP__"), (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
    (b"Sec-WebSocket-Version", b"13"), (b"If-None-Match", b"*"), (b"If-None-Match", b'"x", W/"\xff"'),
    (b"If-None-Match", b'"' * 999), (b"If-Modified-Since", b"Sat, 99 Foo 99999999 99:99:99 GMT"),
    (b"Cookie", b"a=b; " * 2000), (b"X-Forwarded-Host", b"evil.example"), (b"X-Forwarded-For", b"1.2.3.4"),
    (b"X-Forwarded-Proto", b"https"), (b"Forwarded", b"for=1.2.3.4;host=evil.example"),
    (b"X-HTTP-Method-Override", b"DELETE"), (b"X-Original-URL", b"/api/v1/jobs"), (b"X-Rewrite-URL", b"/"),
    (b"Access-Control-Request-Method", b"POST"), (b"Access-Control-Request-Headers", b"authorization"),
    (b"Sec-Fetch-Site", b"none"), (b"Sec-Fetch-Mode", b"navigate"), (b"Sec-Fetch-Dest", b"document"),
    (b"Accept-Encoding", b"gzip, br, \xff"), (b"Accept-Language", b"x" * 9000), (b"Te", b"trailers"),
    (b"Trailer", b"Host"), (b"Max-Forwards", b"0"), (b"Priority", b"u=99"), (b"Proxy", b"http://evil.example"),
    (b"Via", b"1.1 " * 999), (b"Nss-Info", b"{}"), (b"X" * 4000, b"y"), (b"X-Long", b"y" * 60000), (b"", b"empty"),
    (b"a b", b"c"), (b"X", b"\0"), (b"X", b"\x0b\x0c"), (b"X-\xc3\xa9", b"\xc3\xa9"), (b" X", b"begins with a space"),
    (b"X:", b"y"), (b"(X)", b"y"),
)  # fmt: skip
"""Headers that are odd, and of which most are none of the server's business."""

FRAMINGS: tuple[tuple[tuple[bytes, bytes], ...], ...] = (
    ((b"Content-Length", b"-1"),), ((b"Content-Length", b"+5"),), ((b"Content-Length", b"0x10"),),
    ((b"Content-Length", b"1e2"),), ((b"Content-Length", b""),), ((b"Content-Length", b"9" * 30),),
    ((b"Content-Length", b"18446744073709551621"),), ((b"Content-Length", b"\xd9\xa5"),),
    ((b"Content-Length", b"5, 5"),), ((b"Content-Length", b"5"), (b"Content-Length", b"6")),
    ((b"Content-Length", b"5"), (b"Content-Length", b"5")),
    ((b"Content-Length", b"5"), (b"Transfer-Encoding", b"chunked")), ((b"Transfer-Encoding", b"gzip, chunked"),),
    ((b"Transfer-Encoding", b"chunked"), (b"Content-Length", b"0")), ((b"Transfer-Encoding", b"chunked, chunked"),),
    ((b"Transfer-Encoding", b"identity"),), ((b"Transfer-Encoding", b"xchunked"),),
    ((b"Transfer-Encoding", b"\x0bchunked"),),
    ((b"Transfer-Encoding", b"chunked"), (b"Transfer-Encoding", b"identity")), ((b"Transfer-Encoding", b"CHUNKED"),),
    ((b"Transfer-Encoding", b'chunked;q="1"'),), ((b"Transfer_Encoding", b"chunked"),), ((b"Content-Length ", b"3"),),
    ((b"Transfer-Encoding", b""),), ((b"Transfer-Encoding ", b"chunked"),),
    ((b"Content-Length", b"00000000000000000005"),),
)  # fmt: skip
"""Headers that say otherwise, or twice, how long the body is."""

CHUNKS = (
    b"-1\r\nx\r\n0\r\n\r\n", b"zz\r\n", b"0x5\r\nhello\r\n0\r\n\r\n", b"5\r\nhell", b"5\r\nhelloworld\r\n0\r\n\r\n",
    b"ffffffffffffffff\r\n", b"f" * 400 + b"\r\n", b"5;" + b"x" * 60000 + b"\r\nhello\r\n0\r\n\r\n", b"5\nhello\n0\n\n",
    b"5\r\nhello\r\n0\r\nX: y\r\n\r\n", b"0\r\nContent-Length: 5\r\nHost: evil.example\r\n\r\n", b"\r\n\r\n",
    b"5 \r\nhello\r\n", b"\xd9\xa5\r\nhello\r\n0\r\n\r\n", b"00000000000000000000005\r\nhello\r\n0\r\n\r\n",
    b"0\r\n" + b"X: y\r\n" * 3000 + b"\r\n", b"5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n", b"1\r\nx\r\n" * 4000 + b"0\r\n\r\n",
)  # fmt: skip
"""Bodies that say that they are in chunks, most of them wrongly."""

FIELDS = (
    "model", "model-mean", "model-std", "model-size", "model-resize", "model-layout", "model-activation", "model-range",
    "model-channel-order", "model-input", "model-output", "guided", "black", "white", "threshold", "drop-islands",
    "fill-holes", "smooth", "expand", "feather", "background", "crop", "decontaminate", "mask-only", "mask-bits",
    "invert", "hidden", "format", "quality", "effort", "keep-exif", "keep-gps", "mask", "fail-empty", "max-pixels",
    "name", "keep-photo", "output", "backend", "device", "watch", "sidecar", "exists", "recursive", "jobs", "memory",
    "no-cache", "unknown", "", "MODEL", "mask_only", "--mask-only", "token",
)  # fmt: skip

VALUES = (
    "", "0", "1", "-1", "true", "false", "TRUE", "yes", "0.5", "-0", "+1", "1e309", "-1e309", "nan", "inf", "-inf",
    "1_000", "0x10", "1e-320", "9" * 400, "0." + "9" * 4000, "\u0661", "\uff11\uff12", " 1", "1 ", "1,2,3", "1,", ",",
    "1;2", "[1]", "{}", "null", "None", "8", "16", "17", "100", "101", "1000", "1001", "200", "png", "PNG", "jpeg",
    "jpg", "webp", "avif", "tiff", "gif", "svg", "heic", "exe", "white", "#fff", "#12345", "rgb(1,2,3)",
    "rgb(1e999,2,3)", "hsl(none 1% 1%)", "color(display-p3 1 1 1)", "url(http://169.254.169.254/)",
    "http://169.254.169.254/latest", "file:///etc/passwd", "/etc/passwd", "/dev/zero", "/proc/self/environ",
    "../../etc/passwd", "..\\..\\x", "C:\\x", "\\\\host\\share", "~root", "blur", "blur:5", "blur:-1", "blur:1e9",
    "blur:nan", "blur:", "owner/name", "owner/name@main:x.onnx", "u2netp", "auto", "file-", "file-x", "{file}", "keep",
    "bleed", "zero", "a\0b", "\0", "a\r\nX-Split: yes", "\u202e", "e\u0301", "\U0001f600" * 300, "x" * 255, "x" * 256,
    "x" * 10000, "$(id)", "`id`", "'; drop", "<script>", "%00", "%s%n", "{0}", "none", "nchw", "0.5,0.5,0.5", "320",
    "320x320", "16x16", "sigmoid", "0,1",
)  # fmt: skip

RAW_QUERIES = (
    b"%", b"%zz=%", b"=&=&=", b"&&&&", b"a" * 30000, b"feather=%ed%a0%80", b"feather=%ff", b"\xff\xfe=1",
    b"feather=1&feather=1", b"?" * 100, b"feather=1;smooth=2", b"feather[]=1", b"feather=1#x", b"\xc3\xa9=1",
    b"name=%0d%0aX-Split:%20yes", b"name=%22%3cscript%3e", b"name=..%2f..%2fetc", b"name=%00",
    b"name=" + b"%F0%9F%98%80" * 100, b"=" * 5000, b"mask-only&mask-only", b"+=+", b"feather=+1", b"background=%23fff",
    b"background=%2523fff",
)  # fmt: skip


def query(rng: random.Random) -> bytes:
    """One to three fields with values that they were not made for; or what is no query at all."""
    if rng.random() < 0.15:
        return rng.choice(RAW_QUERIES)
    if rng.random() < 0.03:
        return b"&".join(b"x%d=%d" % (index, index) for index in range(2000))
    pairs = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        name, value = rng.choice(FIELDS), rng.choice(VALUES)
        place = "{file}" if value == "{file}" else quote_from_bytes(value.encode("utf-8", "surrogatepass"))
        pairs.append(f"{quote_from_bytes(name.encode())}={place}".encode())
    return b"&".join(pairs)
