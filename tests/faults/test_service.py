"""Cases 73–83 and 67: faults of servers, over HTTP and over the S3 protocol."""

import datetime
import functools
import ipaddress
import json
import re
import ssl
import stat
import sys
from dataclasses import replace

import aiohttp
import boto3
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from moto.server import ThreadedMotoServer

from distspec.archives.dja import DJA
from distspec.core.errors import QuarantineReason
from distspec.ingest.diff import compare_listing
from distspec.io import storage
from distspec.io.files import compare_and_swap, read_versioned
from distspec.io.remote.config import AccessConfig
from tests.faults import servers
from tests.faults.damage import flip, place, summed
from tests.faults.harness import assert_only, assert_same, clean, current_rows, ingest, quarantine
from tests.faults.samples import sample, write_csv

QUICK = AccessConfig(attempts=3, timeout=5.0, deadline=20.0)
UNREACHABLE, DENIED = QuarantineReason.UNREACHABLE, QuarantineReason.DENIED
BUCKET = "archive"


def slow_down(code=503):
    body = b"<?xml version='1.0'?><Error><Code>SlowDown</Code></Error>"
    return servers.status(code, body)


@pytest.fixture(params=["http", "s3"])
def location(request, server, monkeypatch):
    """URL of the files, and their path on the server."""
    if request.param == "http":
        return f"{server.url}/files", "/files"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    storage.clear_bucket_cache()
    return f"s3://{BUCKET}/files", f"/{BUCKET}/files"


@pytest.fixture
def run(server, location, tmp_path):
    """Ingest the DJA sample from the server, which serves the victim by a script of behaviors."""
    url, folder = location
    files = sample("dja")
    write_csv(tmp_path / "catalog.csv", files.rows)
    archive = DJA(url=url, catalog=str(tmp_path / "catalog.csv"), z_min=-1.0)

    def run(*script, content=None, access=QUICK, always=None, retry=False):
        for row in files.rows:
            name = row["file"]
            is_victim = name == files.victim
            body = content if is_victim and content is not None else files.contents[name]
            path = f"{folder}/{row['root']}/{name}"
            server.serve(path, body, *(script if is_victim else ()), always=always if is_victim else None)
        server.requests.clear()
        access = AccessConfig(**{**vars(access), "endpoint_url": server.url})
        return ingest(str(tmp_path / "store"), archive, access, retry)

    victim = next(row for row in files.rows if row["file"] == files.victim)
    run.victim = f"{folder}/{victim['root']}/{files.victim}"
    return run


def assert_refused(store, reason, detail):
    assert_only(store, clean("dja"), sample("dja").victim, reason, detail)


def assert_whole(store):
    assert not quarantine(store)
    assert current_rows(store) == clean("dja")


def test_a_working_server(run, server):
    assert_whole(run())
    assert {request.headers["Range"].partition("=")[0] for request in server.requests} == {"bytes"}
    largest = max(int(item.headers["Range"].partition("-")[2]) for item in server.requests)
    assert largest < 100_000, "images are not read"


PERSISTENT = {
    "073-forbidden": (servers.status(403), DENIED, "status 403"),
    "073-unauthorised": (servers.status(401), DENIED, "status 401"),
    "074-not-found": (servers.status(404), QuarantineReason.NOT_FOUND, "no file at"),
    "074-gone": (servers.status(410), QuarantineReason.NOT_FOUND, "no file at"),
    "075-throttled": (servers.status(429), UNREACHABLE, "status 429, 3 times"),
    "076-slow-down": (slow_down(), UNREACHABLE, "status 503, 3 times"),
    "076-internal-error": (servers.status(500), UNREACHABLE, "status 500, 3 times"),
    "076-unknown-status": (servers.status(418), UNREACHABLE, "status 418"),
    "078-reset": (servers.reset, UNREACHABLE, "from 127.0.0.1.*, 3 times"),
    "078-cut-short": (servers.cut_short, UNREACHABLE, "from 127.0.0.1.*, 3 times"),
    "079-short-body": (servers.short_whole, UNREACHABLE, "from 127.0.0.1.*, 3 times"),
    "079-another-range": (servers.other_range, UNREACHABLE, "requested bytes 0–"),
    "079-less-than-there-is": (servers.less, UNREACHABLE, "received 0–999, 3 times"),
    "079-no-content-range": (servers.status(206, b"x" * 46080), UNREACHABLE, "Content-Range ''"),
    "079-login-page": (servers.status(200, b"<html>login</html>"), QuarantineReason.UNREADABLE, "HTML"),
    "079-empty-body": (servers.status(200, b""), QuarantineReason.UNREADABLE, "empty file"),
    "079-no-content": (servers.status(204), UNREACHABLE, "status 204"),
    "079-gzip": (
        servers.status(200, b"\x1f\x8b junk", Content_Encoding="gzip"),
        QuarantineReason.UNREADABLE,
        "gzip",
    ),
}
"""Persistent behaviors of a server, with the reason and the detail of the quarantine."""

TRANSIENT = {
    "075-throttled-once": [servers.status(429, Retry_After="0")],
    "075-throttled-until-a-date": [servers.status(429, Retry_After="Wed, 21 Oct 2026 07:28:00 GMT")],
    "075-throttled-for-less-than-no-time": [servers.status(429, Retry_After="-5")],
    "076-slow-down-twice": [slow_down(), slow_down()],
    "076-errors": [servers.status(500), servers.status(502)],
    "078-reset-twice": [servers.reset, servers.reset],
    "078-cut-short-once": [servers.cut_short],
    "079-short-body-once": [servers.short_whole],
}
"""Behaviors of a server before it serves the file."""


@pytest.fixture(scope="module", params=["http", "s3"])
def served(request, tmp_path_factory):
    """Results of all cases from one ingest: rows, quarantine, and number of requests by file."""
    files, folder = sample("dja"), tmp_path_factory.mktemp("service")
    victim = next(row for row in files.rows if row["file"] == files.victim)
    names = [f"zz-{case}.spec.fits" for case in (*PERSISTENT, *TRANSIENT)]
    rows = [*files.rows, *({**victim, "file": name} for name in names)]
    write_csv(folder / "catalog.csv", rows)
    with pytest.MonkeyPatch.context() as patch, servers.serving() as server:
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        storage.clear_bucket_cache()
        base = server.url if request.param == "http" else f"s3://{BUCKET}"
        top = "" if request.param == "http" else f"/{BUCKET}"
        for row in rows:
            case = row["file"].removeprefix("zz-").removesuffix(".spec.fits")
            content = files.contents.get(row["file"], files.contents[files.victim])
            always = PERSISTENT[case][0] if case in PERSISTENT else None
            server.serve(
                f"{top}/{row['root']}/{row['file']}", content, *TRANSIENT.get(case, ()), always=always
            )
        archive = DJA(url=base, catalog=str(folder / "catalog.csv"), z_min=-1.0)
        access = AccessConfig(**{**vars(QUICK), "endpoint_url": server.url})
        store = ingest(str(folder / "store"), archive, access)
        storage.clear_bucket_cache()
    n_requests = {name: sum(name in item.path for item in server.requests) for name in names}
    return current_rows(store), quarantine(store), n_requests


@pytest.mark.parametrize("case", PERSISTENT)
def test_a_persistent_failure_is_quarantined_with_its_reason(served, case):
    rows, refused, n_requests = served
    name, (_, reason, detail) = f"zz-{case}.spec.fits", PERSISTENT[case]
    assert name not in rows
    assert refused[name]["reason"] == reason, refused[name]["detail"]
    assert re.search(detail, refused[name]["detail"]), refused[name]["detail"]
    assert refused[name]["uri"].endswith(f"/{name}")
    assert n_requests[name] == (3 if "3 times" in refused[name]["detail"] else 1)


@pytest.mark.parametrize("case", TRANSIENT)
def test_a_transient_failure_leaves_no_trace(served, case):
    rows, refused, n_requests = served
    name = f"zz-{case}.spec.fits"
    assert name not in refused
    assert_same(rows[name], rows[sample("dja").victim])
    assert n_requests[name] > len(TRANSIENT[case])


def test_other_files_are_unaffected(served):
    rows, refused, _ = served
    assert set(refused) == {f"zz-{case}.spec.fits" for case in PERSISTENT}
    others = {f"zz-{case}.spec.fits" for case in TRANSIENT}
    assert {key: row for key, row in rows.items() if key not in others} == clean("dja")


def test_quarantined_spectra_are_read_again_on_request(run):
    """A spectrum that was quarantined for a transient reason gives the same row when it is read again."""
    assert_refused(run(always=slow_down()), UNREACHABLE, "503")
    assert_refused(run(), UNREACHABLE, "503")
    assert_whole(run(retry=True))


@pytest.mark.parametrize("behavior", [servers.ignore_ranges, servers.tell_no_length])
def test_servers_without_range_requests(run, behavior):
    assert_whole(run(always=behavior))


@pytest.mark.parametrize("behavior", [servers.hang, servers.trickle], ids=["no-answer", "no-end"])
def test_077_time_out(run, server, behavior):
    impatient = AccessConfig(attempts=2, timeout=1.0, deadline=10.0)
    assert_refused(run(always=behavior, access=impatient), UNREACHABLE, "Timeout.* from 127.0.0.1.*, 2 times")
    assert len(server.asked(run.victim)) == 2
    # On a busy machine a good answer may take longer as well.
    assert_whole(run(behavior, access=replace(impatient, attempts=10), retry=True))


def test_077_the_deadline_limits_all_attempts_together(run):
    hasty = AccessConfig(attempts=100, timeout=5.0, deadline=0.6)
    assert_refused(
        run(always=servers.status(503), access=hasty), UNREACHABLE, "no answer in 0.6 s of attempts"
    )


def test_080_checksum_mismatch(run):
    content = summed(sample("dja").contents[sample("dja").victim])
    flipped = flip(content, place(content, "SPEC1D")[1] + 4000)
    assert_refused(run(content=flipped), QuarantineReason.BAD_CHECKSUM, "HDU SPEC1D")


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_within_the_archive_are_followed(run, server, code):
    server.serve("/moved", sample("dja").contents[sample("dja").victim])
    assert_whole(run(always=servers.redirect("/moved", code)))
    assert server.asked("/moved")


@pytest.mark.parametrize("target", ["another-host", "private", "metadata", "file", "credentials", "nowhere"])
def test_083_redirects_out_of_the_archive_are_refused(run, elsewhere, target):
    port = elsewhere.port
    location = {
        "another-host": f"{elsewhere.url}/moved",
        "private": f"http://localhost:{port}/moved",
        "metadata": f"http://169.254.169.254:{port}/latest/meta-data/",
        "file": "file:///etc/passwd",
        "credentials": f"//user:pass@127.0.0.1:{port}/moved",
        "nowhere": "http://[::1/",
    }[target]
    elsewhere.serve("/moved", sample("dja").contents[sample("dja").victim])
    store = run(always=servers.redirect(location))
    assert_refused(store, QuarantineReason.OUTSIDE, "redirected to")
    assert "pass@" not in quarantine(store)[sample("dja").victim]["detail"]
    assert elsewhere.requests == []


def test_083_redirects_to_a_permitted_host_are_followed(run, elsewhere):
    elsewhere.serve("/moved", sample("dja").contents[sample("dja").victim])
    named = AccessConfig(**{**vars(QUICK), "redirect_hosts": (f"127.0.0.1:{elsewhere.port}",)})
    assert_whole(run(always=servers.redirect(f"{elsewhere.url}/moved"), access=named))
    assert elsewhere.asked("/moved")
    assert not any("Authorization" in request.headers for request in elsewhere.requests)


def test_083_a_permitted_host_may_not_redirect_further(run, server, elsewhere):
    """Every redirect is checked, not only the first."""
    with servers.serving() as third:
        named = AccessConfig(**{**vars(QUICK), "redirect_hosts": (f"127.0.0.1:{elsewhere.port}",)})
        elsewhere.serve("/moved", b"", always=servers.redirect(f"{third.url}/moved"))
        assert_refused(
            run(always=servers.redirect(f"{elsewhere.url}/moved"), access=named),
            QuarantineReason.OUTSIDE,
            "redir",
        )
        assert elsewhere.requests
        assert third.requests == []


def test_083_too_many_redirects(run, server):
    assert_refused(
        run(always=servers.redirect("?again")), QuarantineReason.OUTSIDE, "redirected more than 5 times"
    )
    assert len(server.asked(run.victim)) == 5


@pytest.fixture
def certificate(tmp_path):
    """A certificate for 127.0.0.1, its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    today = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    paths = tmp_path / "cert.pem", tmp_path / "key.pem"
    paths[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    form = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    return paths


def test_083_a_redirect_from_https_to_http_is_refused(certificate, elsewhere, tmp_path, monkeypatch):
    """A redirect may not leave TLS, not even to a permitted host."""
    files = sample("dja")
    write_csv(tmp_path / "catalog.csv", files.rows)
    trusted = functools.partial(
        aiohttp.TCPConnector, ssl=ssl.create_default_context(cafile=str(certificate[0]))
    )
    monkeypatch.setattr("distspec.io.remote.files.aiohttp.TCPConnector", trusted)
    with servers.serving(certificate) as secure:
        for row in files.rows:
            content = files.contents[row["file"]]
            away = servers.redirect(f"{elsewhere.url}/moved") if row["file"] == files.victim else None
            secure.serve(f"/{row['root']}/{row['file']}", content, always=away)
        archive = DJA(url=secure.url, catalog=str(tmp_path / "catalog.csv"), z_min=-1.0)
        named = AccessConfig(**{**vars(QUICK), "redirect_hosts": (f"127.0.0.1:{elsewhere.port}",)})
        store = ingest(str(tmp_path / "store"), archive, named)
    assert_refused(store, QuarantineReason.OUTSIDE, "redirected to http://")
    assert elsewhere.requests == []


def test_an_untrusted_certificate_is_refused(certificate, tmp_path):
    files = sample("dja")
    write_csv(tmp_path / "catalog.csv", files.rows)
    with servers.serving(certificate) as secure:
        archive = DJA(url=secure.url, catalog=str(tmp_path / "catalog.csv"), z_min=-1.0)
        with pytest.raises(ValueError, match=r"does not answer.*Certificate"):
            archive.list_spectra(AccessConfig(attempts=1))
        assert secure.requests == []


def test_081_expired_credentials_are_requested_again(server, tmp_path, monkeypatch):
    """Expired credentials are requested again from their provider, and the ingest continues."""
    keys = tmp_path / "keys.json"
    process = tmp_path / "credentials"
    process.write_text(f"#!{sys.executable}\nprint(open({str(keys)!r}).read())\n")
    process.chmod(process.stat().st_mode | stat.S_IXUSR)
    config = tmp_path / "config"
    config.write_text(f"[profile archive]\ncredential_process = {process}\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_PROFILE", "archive")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    storage.clear_bucket_cache()

    def give(key):
        keys.write_text(
            json.dumps({"Version": 1, "AccessKeyId": key, "SecretAccessKey": "s", "SessionToken": "t"})
        )

    served = []

    def until_it_expires(handler, content):
        first = "X-Amz-Credential=FIRST" in handler.path
        if first and len(served) >= 4:
            give("SECOND")
            expired = b"<?xml version='1.0'?><Error><Code>ExpiredToken</Code></Error>"
            handler.reply(400, expired)
            return
        served.append("FIRST" if first else "SECOND")
        servers.serve_ranges(handler, content)

    give("FIRST")
    files = sample("dja")
    write_csv(tmp_path / "catalog.csv", files.rows)
    for row in files.rows:
        path = f"/{BUCKET}/{row['root']}/{row['file']}"
        server.serve(path, files.contents[row["file"]], always=until_it_expires)
    archive = DJA(url=f"s3://{BUCKET}", catalog=str(tmp_path / "catalog.csv"), z_min=-1.0)
    access = AccessConfig(attempts=4, endpoint_url=server.url)
    store = ingest(str(tmp_path / "store"), archive, access)
    storage.clear_bucket_cache()
    assert_whole(store)
    assert served[:4] == ["FIRST"] * 4
    assert set(served[4:]) == {"SECOND"}


def test_no_signature_is_recorded(run, server):
    store = run(always=servers.reset)
    words = json.dumps([*quarantine(store).values(), *store.ledger().to_pylist()])
    assert "X-Amz" not in words
    assert "Signature" not in words


@pytest.fixture(scope="module")
def moto():
    service = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    service.start()
    host, port = service.get_host_and_port()
    yield f"http://{host}:{port}"
    service.stop()


@pytest.fixture
def bucket(moto, monkeypatch):
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_ENDPOINT_URL": moto,
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    storage.clear_bucket_cache()
    client = boto3.client("s3", endpoint_url=moto, region_name="us-east-1")
    client.create_bucket(Bucket=BUCKET)
    yield client
    for listed in client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        client.delete_object(Bucket=BUCKET, Key=listed["Key"])
    client.delete_bucket(Bucket=BUCKET)
    storage.clear_bucket_cache()


@pytest.mark.parametrize("kind", ["dja", "sdss"])
def test_067_the_etag_of_a_multipart_upload_is_a_version(bucket, tmp_path, kind):
    """The ETag is not an MD5 of the content, but it changes with it, so it serves as the version."""
    files = sample(kind)
    for name, content in files.contents.items():
        if name == files.victim:
            parts = boto3.s3.transfer.TransferConfig(multipart_threshold=1, multipart_chunksize=5 << 20)
            (tmp_path / name).write_bytes(content)
            bucket.upload_file(str(tmp_path / name), BUCKET, f"files/{name}", Config=parts)
        else:
            bucket.put_object(Bucket=BUCKET, Key=f"files/{name}", Body=content)
    assert "-1" in bucket.head_object(Bucket=BUCKET, Key=f"files/{files.victim}")["ETag"]
    options = {"version_by_etag": True} if kind == "dja" else {}
    archive = files.archive(tmp_path, files.rows, url=f"s3://{BUCKET}/files", **options)
    store = ingest(str(tmp_path / "store"), archive)
    assert not quarantine(store)
    found = current_rows(store)
    assert found.keys() == clean(kind).keys()
    for key, row in found.items():
        assert row.flux.tobytes() == clean(kind)[key].flux.tobytes()
    assert found[files.id_of(files.victim)].ledger["version"].endswith("-1")
    assert compare_listing(archive.list_spectra(), store).is_empty


def test_082_one_of_several_conditional_writes_succeeds(bucket):
    url = f"s3://{BUCKET}/pointer.json"
    first = compare_and_swap(url, b"1", None)
    assert first
    assert compare_and_swap(url, b"other", None) is None, "the file exists"
    assert read_versioned(url) == (b"1", first)
    second = compare_and_swap(url, b"2", first)
    assert second
    assert compare_and_swap(url, b"late", first) is None, "412: the version has changed"
    assert read_versioned(url)[0] == b"2"


@pytest.fixture
def s3_endpoint(server, monkeypatch):
    """The server as an S3 endpoint."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    storage.clear_bucket_cache()
    yield server
    storage.clear_bucket_cache()


def refusing(code, current):
    """Return a behavior that refuses writes and serves the current content."""

    def behave(handler, _):
        if handler.command == "PUT":
            handler.reply(code, b"<Error><Code>ConditionalRequestConflict</Code></Error>")
        else:
            handler.reply(200, current, ETag='"there"', Last_Modified="Tue, 24 Nov 2026 10:00:00 GMT")

    return behave


@pytest.mark.parametrize("code", [409, 412])
@pytest.mark.parametrize("version", [None, '"abc"'])
def test_082_a_conflicting_write_writes_nothing(s3_endpoint, code, version):
    path = f"/{BUCKET}/pointer.json"
    s3_endpoint.serve(path, b"", always=refusing(code, b"another's"))
    assert compare_and_swap(f"s3:/{path}", b"1", version) is None
    sent = [request for request in s3_endpoint.asked(path) if request.method == "PUT"]
    assert sent
    assert all(("If-None-Match" in request.headers) == (version is None) for request in sent)


def test_082_a_write_whose_response_was_lost_has_succeeded(s3_endpoint):
    path = f"/{BUCKET}/pointer.json"
    s3_endpoint.serve(path, b"", always=refusing(412, b"1"))
    assert compare_and_swap(f"s3:/{path}", b"1", None) == '"there"'
