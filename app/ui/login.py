"""Signing in and out."""

import hmac
import secrets
import threading
import time

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.params import NAME_LENGTH
from app.auth import COOKIE, authenticate
from app.db import AnyRow, reading, transaction
from app.errors import NotAuthenticated
from app.services import apikeys, logins, passwords
from app.settings import settings
from app.ui.wire import FORM_TOKEN, Visit, enter, render, see

router = APIRouter()

STRANGER = "crawldock-form"  # cookie: what the sign-in form of a stranger carries as well
SECRET_LENGTH = 1024  # characters of a password
WRONG, WITHIN = 10, 300.0  # tries of one user from one address, in so many seconds; then they wait
NOTED = 10_000  # users and addresses
WAIT = "That was wrong too often. Wait some minutes."
REFUSED = "That is no valid API key, and no user with that password."
ENDED = "You were signed out before your form was sent. Sign in, go back, and send it again."
TOO_OLD = "This form was too old. Try again."


class Tries:
    """Wrong tries of late, by user and address; each API process counts its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wrong: dict[tuple[str, str], list[float]] = {}

    def too_many(self, who: tuple[str, str]) -> bool:
        """Were there so many that another one is not looked at?"""
        with self._lock:
            return len(self._lately(who)) >= WRONG

    def wrong(self, who: tuple[str, str]) -> None:
        """Note one."""
        with self._lock:
            if len(self._wrong) >= NOTED:
                self._wrong = {each: left for each in self._wrong if (left := self._lately(each))}
            if len(self._wrong) >= NOTED:
                self._wrong.clear()  # somebody tries a great many users: memory is worth more than the count
            self._wrong[who] = self._lately(who)
            self._wrong[who].append(time.monotonic())

    def _lately(self, who: tuple[str, str]) -> list[float]:
        return [each for each in self._wrong.get(who, ()) if time.monotonic() - each < WITHIN]


_tries = Tries()


@router.get("/login")
def form(call: Visit, request: Request) -> Response:
    """The sign-in page; somebody who has signed in goes on."""
    with reading() as session:
        try:
            authenticate(session, None, call.login)
        except NotAuthenticated:
            return _form(request, _next(call.params), ENDED if call.typed("ended") else "")
    return see(_next(call.params))


@router.post("/login")
def sign_in(call: Visit, request: Request) -> Response:
    """Sign in with an API key alone, or as a user with a password or key."""
    onward = _next(call.params)
    sent = next(iter(call.params.get(FORM_TOKEN, [])), "")
    if not sent or not hmac.compare_digest(sent.encode(), request.cookies.get(STRANGER, "").encode()):
        return _form(request, onward, TOO_OLD, 400)
    if call.problem is not None:
        raise call.problem
    user, secret = call.typed("user").strip(), call.typed("secret")
    who = (user.casefold(), request.client.host if request.client else "")
    if user and _tries.too_many(who):  # a key alone has too many bits to be found
        return _form(request, onward, WAIT, 429, user)
    found = _who(user, secret) if len(user) <= NAME_LENGTH and len(secret) <= SECRET_LENGTH else None
    if found is None:
        if user:
            _tries.wrong(who)
        return _form(request, onward, REFUSED, 403, user)
    with transaction() as session:
        if call.login:
            logins.end(session, call.login)  # of whoever had signed in with this browser before
        token = logins.begin(session, found.id)
    response = see(onward)
    secure = settings().url.startswith("https:")
    response.set_cookie(
        COOKIE,
        token,
        max_age=logins.LIFETIME_MS // 1000,
        path="/",
        httponly=True,
        samesite="lax",
        secure=secure,
    )
    response.delete_cookie(STRANGER, path="/login")
    return response


@router.post("/logout")
def sign_out(call: Visit) -> Response:
    """Sign out of this browser."""
    with transaction() as session:
        enter(session, call)
        logins.end(session, call.login or "")
    response = see("/login")
    response.delete_cookie(COOKIE, path="/")
    return response


def _who(user: str, secret: str) -> AnyRow | None:
    with reading() as session:
        found = apikeys.find(session, secret.strip())
    if found is not None and user in ("", found.name):
        return found
    return passwords.check(user, secret) if user else None


def _next(params: dict[str, list[str]]) -> str:
    """Where to go on to: a page of ours, nowhere else."""
    wanted = next(iter(params.get("next", [])), "/")
    ours = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and wanted.isprintable()
    return wanted if ours else "/"


def _form(request: Request, onward: str, problem: str = "", status: int = 200, user: str = "") -> Response:
    token = request.cookies.get(STRANGER) or secrets.token_urlsafe(16)
    response = render("login", None, status, onward=onward, problem=problem, user=user, token=token)
    response.set_cookie(STRANGER, token, path="/login", httponly=True, samesite="strict")
    return response
