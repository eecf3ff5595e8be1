"""Which names and addresses mean this machine alone."""

from __future__ import annotations

import ipaddress


def is_this_machine(name: str) -> bool:
    """Tell whether a name or address is of this machine alone, whatever a name server says."""
    if name.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
