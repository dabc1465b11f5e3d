"""URLs of the web pages that archives have for their spectra."""

import pytest

from distspec.archives.registry import get_archive

ROW = {"object_id": "", "root": "", "srcid": "", "ra": 53.1, "dec": -27.8}
DJA_FILE = "rubies-uds1-v4_prism-clear_4233_1234.spec.fits"


@pytest.mark.parametrize(
    ("name", "changed", "url"),
    [
        (
            "dja",
            {"object_id": DJA_FILE, "root": "rubies-uds1-v4"},
            "https://s3.amazonaws.com/msaexp-nirspec/extractions/rubies-uds1-v4/"
            "rubies-uds1-v4_prism-clear_4233_1234.fnu.png",
        ),
        (
            "dja",
            {"object_id": "macs0417-v4_prism-clear_1208_1.spec.fits", "root": "macs0417-v4"},
            "https://s3.amazonaws.com/grizli-canucs/nirspec/macs0417-v4/"
            "macs0417-v4_prism-clear_1208_1.fnu.png",
        ),
        ("dja", {"object_id": DJA_FILE, "root": "mock-uds1-v4"}, ""),
        (
            "sdss",
            {"object_id": "spec-4055-55359-0596"},
            "https://dr16.sdss.org/optical/spectrum/view/?plateid=4055&mjd=55359&fiberid=596",
        ),
        ("sdss", {"object_id": "spec-015000-59146-x"}, ""),
        (
            "desi",
            {"srcid": "39627"},
            "https://www.legacysurvey.org/viewer/desi-spectrum/dr1/targetid39627",
        ),
        ("desi", {"srcid": ""}, ""),
        ("jades", {}, "https://jades.idies.jhu.edu/?ra=53.100000&dec=-27.800000&zoom=10"),
        ("spex", {"object_id": "a.fits"}, ""),
        ("", {}, ""),
    ],
)
def test_viewer_url(name, changed, url):
    assert get_archive(name).viewer_url(ROW | changed) == url
