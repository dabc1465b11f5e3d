"""Access control: requests of a browser and of an attacker."""

import pytest
from starlette.testclient import TestClient

from distspec.core.errors import ConfigError
from distspec.explorer.app import make_app
from distspec.explorer.security import CONTENT_SECURITY_POLICY, MAX_BODY_BYTES, Proxy, TokenAuthMiddleware
from distspec.explorer.session import open_annotation_session
from tests.explorer.conftest import TOKEN

PORT = 8765
OWN = {"origin": f"http://127.0.0.1:{PORT}"}


@pytest.fixture
def client(explorer_data, root):
    app = TokenAuthMiddleware(make_app(explorer_data, open_annotation_session(root, "ann"), {}), TOKEN, PORT)
    return TestClient(app, base_url=f"http://127.0.0.1:{PORT}")


PATHS = (
    "",
    "app.js",
    "style.css",
    "api/catalog",
    "api/map",
    "api/ids",
    "api/spectrum/0",
    "api/labels",
    "api/tables/all.vot",
)


@pytest.mark.parametrize("path", PATHS)
def test_every_request_needs_the_token(client, path):
    assert client.get(f"/{TOKEN}/{path}").status_code == 200
    for start in ("", "wrong/", f"{TOKEN}x/", f"{TOKEN[:-1]}/", "//"):
        assert client.get(f"/{start}{path}").status_code == 403
    assert client.get(f"/{path}?token={TOKEN}", cookies={"token": TOKEN}).status_code == 403


def test_the_token_without_a_slash_is_refused(client):
    """Without the slash, relative links would leave the page."""
    assert client.get(f"/{TOKEN}", follow_redirects=False).status_code == 403


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        f"evil.example:{PORT}",
        "127.0.0.1",
        "127.0.0.1:1",
        f"127.0.0.1.evil.example:{PORT}",
        "",
    ],
)
def test_other_hosts_are_refused(client, host):
    assert client.get(f"/{TOKEN}/", headers={"host": host}).status_code == 421


def test_localhost_is_accepted(client):
    assert client.get(f"/{TOKEN}/", headers={"host": f"localhost:{PORT}"}).status_code == 200


@pytest.mark.parametrize("path", [f"/{TOKEN}/", f"/{TOKEN}/nothing", "/", f"/{TOKEN}/api/column/nothing"])
def test_every_response_has_security_headers(client, path):
    headers = client.get(path).headers
    assert headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "name",
    [
        "../app.py",
        "..%2fapp.py",
        "%2e%2e/app.py",
        "....//app.py",
        "..%5capp.py",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "libraries.js/../../app.py",
    ],
)
def test_no_path_leads_out_of_the_static_files(client, name):
    response = client.get(f"/{TOKEN}/{name}")
    assert response.status_code in (403, 404)
    assert "starlette" not in response.text


def test_only_the_page_itself_may_change_anything(client):
    body = {"rows": [1], "label": "LRD"}
    url = f"/{TOKEN}/api/labels"
    assert client.post(url, json=body).status_code == 403
    assert client.post(url, json=body, headers={"origin": "http://evil.example"}).status_code == 403
    assert client.post(url, json=body, headers={"origin": "null"}).status_code == 403
    form = {**OWN, "content-type": "text/plain"}
    assert client.post(url, content='{"rows": [1]}', headers=form).status_code == 415
    assert client.get(url).json() == {"labels": {}, "marks": {}}
    assert client.post(url, json=body, headers=OWN).status_code == 200
    assert client.get(url).json() == {"labels": {"1": "LRD"}, "marks": {}}


def test_requests_that_are_too_large_are_not_read(client):
    headers = {**OWN, "content-type": "application/json", "content-length": str(MAX_BODY_BYTES + 1)}
    assert client.post(f"/{TOKEN}/api/labels", content=b"{}", headers=headers).status_code == 413
    chunks = {**OWN, "content-type": "application/json"}
    assert client.post(f"/{TOKEN}/api/labels", content=iter([b"{}"]), headers=chunks).status_code == 411


def test_other_methods_are_refused(client):
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        assert client.request(method, f"/{TOKEN}/api/map", headers=OWN).status_code in (403, 405, 415)


HUB = "https://hub.example.org"


@pytest.fixture
def proxied(explorer_data, root):
    proxy = Proxy.parse(f"{HUB}/user/ann/proxy/{{port}}/", PORT)
    app = make_app(explorer_data, open_annotation_session(root, "ann"), {})
    return TestClient(TokenAuthMiddleware(app, TOKEN, PORT, proxy, "'self'"), base_url=HUB)


def test_a_named_proxy_is_one_more_host_and_origin(proxied):
    body = {"rows": [1], "label": "LRD"}
    url = f"/{TOKEN}/api/labels"
    assert proxied.get(f"/{TOKEN}/").status_code == 200
    assert proxied.get("/wrong/").status_code == 403
    for host in ("evil.example", "hub.example.org.evil.example", "hub.example.org:8000", "127.0.0.1:1"):
        assert proxied.get(f"/{TOKEN}/", headers={"host": host}).status_code == 421
    for origin in ("http://hub.example.org", "https://evil.example", f"http://127.0.0.1:{PORT}", "null"):
        assert proxied.post(url, json=body, headers={"origin": origin}).status_code == 403
    assert proxied.post(url, json=body, headers={"origin": HUB}).status_code == 200
    # The machine itself, and proxies that put the explorer's host in place of their own.
    own = {"host": f"127.0.0.1:{PORT}"}
    assert proxied.post(url, json=body, headers={**own, **OWN}).status_code == 200
    assert proxied.post(url, json=body, headers={**own, "origin": HUB}).status_code == 200
    assert proxied.post(url, json=body, headers={**own, "origin": "https://evil.example"}).status_code == 403


def test_frames_are_refused_unless_a_proxy_or_a_notebook_shows_the_page(client, proxied):
    assert client.get(f"/{TOKEN}/").headers["x-frame-options"] == "DENY"
    headers = proxied.get(f"/{TOKEN}/").headers
    assert "x-frame-options" not in headers
    assert headers["content-security-policy"] == CONTENT_SECURITY_POLICY.replace(
        "frame-ancestors 'none'", "frame-ancestors 'self'"
    )


@pytest.mark.parametrize(
    "url",
    ["hub.example.org/proxy/{port}/", "ftp://hub.example.org/", "https:///proxy", f"{HUB}/?a=b", f"{HUB}/#a"],
)
def test_a_proxy_is_an_address(url):
    with pytest.raises(ConfigError, match="--proxy"):
        Proxy.parse(url, PORT)
