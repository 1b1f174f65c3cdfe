# SPDX-License-Identifier: Apache-2.0
"""aws-chunked bodies as the SDKs send them, and the checksums S3 knows."""
import base64
import hashlib
import zlib

SIGNATURE = "a" * 64
AUTH = (
    "AWS4-HMAC-SHA256 Credential=tester/20260101/us-east-1/s3/aws4_request, "
    "SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=" + SIGNATURE
)


def _crc_table(poly, bits):
    t = []
    for i in range(256):
        c = i
        for _ in range(8):
            c = (c >> 1) ^ poly if c & 1 else c >> 1
        t.append(c)
    return t, (1 << bits) - 1


_CRC32C = _crc_table(0x82F63B78, 32)
_CRC64NVME = _crc_table(0x9A6C9329AC4BC9B5, 64)


def _crc(data, table):
    t, mask = table
    c = mask
    for b in data:
        c = t[(c ^ b) & 0xFF] ^ (c >> 8)
    return c ^ mask


def checksum(name, data):
    """base64 as in x-amz-checksum-NAME."""
    raw = {
        "crc32": lambda: zlib.crc32(data).to_bytes(4, "big"),
        "crc32c": lambda: _crc(data, _CRC32C).to_bytes(4, "big"),
        "crc64nvme": lambda: _crc(data, _CRC64NVME).to_bytes(8, "big"),
        "sha1": lambda: hashlib.sha1(data).digest(),
        "sha256": lambda: hashlib.sha256(data).digest(),
    }[name]()
    return base64.b64encode(raw).decode()


ALGORITHMS = ["crc32", "crc32c", "crc64nvme", "sha1", "sha256"]


def encode(data, signed=False, trailers=(), chunk=65536, trailer_signature=False):
    out = b""
    for at in list(range(0, len(data), chunk)) + [None]:
        piece = data[at : at + chunk] if at is not None else b""
        out += b"%x" % len(piece)
        if signed:
            out += b";chunk-signature=" + SIGNATURE.encode()
        out += b"\r\n" + piece
        if piece:
            out += b"\r\n"
    for name, value in trailers:
        out += f"{name}:{value}\r\n".encode()
    if trailer_signature:
        out += b"x-amz-trailer-signature:" + SIGNATURE.encode() + b"\r\n"
    return out + b"\r\n"


def headers(data, kind, trailers=()):
    h = {
        "x-amz-content-sha256": kind,
        "x-amz-decoded-content-length": str(len(data)),
        "Content-Encoding": "aws-chunked",
        "x-amz-date": "20260101T000000Z",
        "Authorization": AUTH,
    }
    if trailers:
        h["x-amz-trailer"] = ",".join(n for n, _ in trailers)
    return h


UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
