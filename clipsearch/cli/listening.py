"""Where a server listens, and the token it asks for: of `serve --web` and `mcp --http` alike."""

import os
from typing import Annotated, Any

import typer

from clipsearch.cli.given_values import whole_number
from clipsearch.errors import InvalidInput

TOKEN_VARIABLE = "CLIPSEARCH_TOKEN"
_SHORTEST_TOKEN = 16  # characters

HostOption = Annotated[
    str | None,
    typer.Option(
        "--host",
        metavar="ADDRESS",
        help="Where it listens: any other address than this machine's own asks for a token.  "
        "[default: 127.0.0.1]",
    ),
]


def port_option(usual: int) -> Any:
    """Return the option for a port, which says what it is by default."""
    return typer.Option(
        "--port",
        metavar="N",
        parser=whole_number("--port", least=0, most=65535),
        help=f"At which port; 0 takes one that is free.  [default: {usual}]",
    )


def token_for(host: str) -> str | None:
    """Return the token that is asked for at an address: the user's, or one made now, or none."""
    from clipsearch.serving.addresses import is_this_machine

    token = os.environ.get(TOKEN_VARIABLE)
    if token is not None and (len(token) < _SHORTEST_TOKEN or not token.isascii()):
        raise InvalidInput(
            f"{TOKEN_VARIABLE} must hold {_SHORTEST_TOKEN} characters of ASCII or more: "
            '`python3 -c "import secrets; print(secrets.token_urlsafe())"` makes one'
        )
    if token is None and not is_this_machine(host):
        import secrets

        token = secrets.token_urlsafe(24)
    return token
