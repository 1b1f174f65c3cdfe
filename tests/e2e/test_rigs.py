# SPDX-License-Identifier: Apache-2.0
"""The rigs themselves: the foreign servers serve, the proxy misbehaves as told."""
import botocore.exceptions
import pytest

from lib import proc
from lib.faultproxy import act, always, times
from lib.ufs import s3_client

ERR = (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError)


@pytest.mark.parametrize("name", ["versity", "moto"])
def test_foreign_server_keeps_objects_and_multipart(request, name):
    s = request.getfixturevalue(name)
    s.put("d/a", b"alpha")
    assert s.get("d/a") == b"alpha" and s.get("d/none") is None
    c, b = s.client, s.bucket
    up = c.create_multipart_upload(Bucket=b, Key="m")["UploadId"]
    parts = [proc.content(i, 5 << 20) for i in (1, 2)]
    tags = [
        c.upload_part(Bucket=b, Key="m", UploadId=up, PartNumber=i + 1, Body=p)["ETag"] for i, p in enumerate(parts)
    ]
    c.complete_multipart_upload(
        Bucket=b, Key="m", UploadId=up,
        MultipartUpload={"Parts": [{"PartNumber": i + 1, "ETag": t} for i, t in enumerate(tags)]},
    )
    assert s.get("m") == b"".join(parts)
    c.copy_object(Bucket=b, Key="m2", CopySource={"Bucket": b, "Key": "m"})
    s.delete("m")
    assert s.keys() == ["d/a", "m2"]
    s.delete("m2")
    s.delete("d/a")


def test_proxy_misbehaves_as_told(versity, proxy_to):
    p = proxy_to(versity)
    c = s3_client(p.endpoint, versity.key, versity.secret, timeout=5)
    put = lambda k: c.put_object(Bucket=versity.bucket, Key=k, Body=b"x" * 1000)
    put("pass")
    assert versity.get("pass") == b"x" * 1000

    for name, arrives in [("refuse", False), ("reset", False), ("throttle", False), ("status", False), ("drop_answer", True)]:
        p.rule = times(1, act(name, status=403, code="AccessDenied"))
        with pytest.raises(ERR):
            put("k-" + name)
        assert (versity.get("k-" + name) is not None) == arrives, name

    p.rule = times(1, act("late", seconds=0.5))
    with pytest.raises(ERR):
        put("late")
    proc.wait_for("the late request", lambda: versity.get("late"))

    p.rule = times(1, act("repeat"))
    put("twice")
    p.rule = always(act("cut_answer"), lambda r: r.method == "GET")
    with pytest.raises(ERR):
        c.get_object(Bucket=versity.bucket, Key="twice")["Body"].read()
    p.rule = None
    p.down()
    with pytest.raises(ERR):
        put("down")
    p.up()
    put("up")
    assert p.count(lambda e: e[2] == "repeat") == 1
    for k in versity.keys():
        versity.delete(k)
