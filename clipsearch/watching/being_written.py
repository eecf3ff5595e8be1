"""Whether a file is still being written.

Linux grants a read lease on a file only while nobody has it open for writing (or mapped so). The
lease is given back at once. Elsewhere, and on files of other users, nobody can say: there a file
counts as complete when it has been quiet.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

if sys.platform == "linux":
    import fcntl
    import signal

    from clipsearch.photos.mount_table import mount_table

    # Writers on other machines are not seen there, or every lease is refused (cifs).
    _REMOTE = ("nfs", "nfs4", "cifs", "smb3", "9p", "afs", "ceph", "fuse.sshfs", "fuse.rclone")

    def is_held_open(path: Path) -> bool | None:
        """Tell whether a process has a file open for writing; None if the system can't say.

        Raises OSError if the file can't be opened.
        """
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        descriptor = os.open(path, flags)
        try:
            # Whoever opens the file while we hold the lease makes the system signal us; the
            # default, SIGIO, would end the process, and SIGURG is ignored by default.
            fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        except BlockingIOError:
            return None if _is_remote(os.fstat(descriptor).st_dev) else True
        except OSError:
            return None
        else:
            return None if _is_remote(os.fstat(descriptor).st_dev) else False
        finally:
            os.close(descriptor)

    def _is_remote(device: int) -> bool:
        return any(m.device == device and m.kind in _REMOTE for m in mount_table())
else:

    def is_held_open(path: Path) -> bool | None:
        """Return None: this system can't say whether a file is open for writing."""
        return None
