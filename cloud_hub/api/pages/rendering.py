"""Templates, and what every page is given: who looks, where they may go, what was just done, which theme they like."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from cloud_hub.api.access import has_route
from cloud_hub.api.context import HubContext
from cloud_hub.api.guard import principal_of
from cloud_hub.api.pages import flash, navigation, words
from cloud_hub.api.pages.static import static

Theme = Literal["auto", "light", "dark"]
THEME_COOKIE = "millwright_theme"
STREAM = "/api/v1/stream"
_YEAR_S = 365 * 86_400
router = APIRouter(include_in_schema=False)


def render(request: Request, template: str | Template, *, status: int = 200, **values: object) -> HTMLResponse:
    """A page. Templates get `values` and, from here: `fleet`, `now_s`, `principal`, `may(word)`, `places`, `path`,
    `theme`, `said`, `csrf_token`, `stream`, `ago_of(time_s)`.

    Raises: jinja2.UndefinedError: the template uses something that it was not given.
    """
    context = request.app.state.context
    assert isinstance(context, HubContext)  # noqa: S101 - set by create_app
    now_s = context.now_s()
    principal = principal_of(request)
    page = TEMPLATES.get_template(template).render(
        fleet=context.fleet,
        now_s=now_s,
        principal=principal,
        may=lambda word: principal is not None and word in principal.permissions,
        places=navigation.places_for(principal),
        path=request.url.path,
        query=dict(request.query_params),
        theme=theme_of(request),
        said=flash.take(request),
        csrf_token=getattr(request.state, "csrf_token", ""),
        stream=STREAM if _has_stream(request) else "",
        ago_of=lambda time_s: words.ago(now_s - time_s),
        **values,
    )
    answer = HTMLResponse(page, status_code=status, headers={"cache-control": "no-store"})
    flash.forget(request, answer)
    return answer


def theme_of(request: Request) -> Theme:
    """What the viewer has chosen; "auto" is what their device says."""
    chosen = request.cookies.get(THEME_COOKIE)
    return next((theme for theme in get_args(Theme) if theme == chosen), "auto")


@router.post("/preferences/theme")
def choose_theme(
    request: Request, theme: Annotated[Theme, Form()], back: Annotated[str, Form()] = "/"
) -> RedirectResponse:
    """Remember a theme in this browser. It is read on the server, so that no page flashes up in the other one."""
    try:
        answer = flash.redirect(request, back)
    except ValueError:
        answer = flash.redirect(request, "/")
    answer.set_cookie(THEME_COOKIE, theme, max_age=_YEAR_S, samesite="lax", secure=request.url.scheme == "https")
    return answer


def _has_stream(request: Request) -> bool:
    return has_route(request.app, STREAM)


TEMPLATES = Environment(
    loader=PackageLoader("cloud_hub.api"),
    autoescape=True,
    undefined=StrictUndefined,
    auto_reload=False,  # a template of the next release has no business in a process of this one
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.filters.update(words.FILTERS)
TEMPLATES.globals.update(static=static)
