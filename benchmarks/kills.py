"""Claim: `clipsearch index` killed at any moment loses nothing and does nothing twice.

python benchmarks/kills.py [--kills 200] [--photos 2000] [--seed 0] [--folder DIR] [--forked]

Kills the program with SIGKILL again and again over a folder of small real photos, with adds,
edits, moves, copies and deletes in between: at moments spread evenly over a run, and at moments
just after a batch is committed and while the FAISS file is replaced. After each kill the library
must open, answer like brute force, and hold all that it held; at the end it must equal a fresh
index of the same folder: rows, and vectors but for rounding, since the first run encodes with torch
and later ones without. Ends with 1 if anything differs. Ctrl-C ends the killing early and compares.

What is killed is the program as users start it, but for one thing: it notes its phases, and the
photos that it is about to encode, in a file (tests/doomed_program.py). Most of its time goes into
importing torch; with --forked the processes are forked from one that has done so.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from forked_program import forked_program
from kill_campaign import BATCH, Campaign, ForkedRun, OwnProcess


def show(campaign: Campaign) -> None:
    tally, album = campaign.tally, campaign.album
    print(f"\nkills                                   {tally.kills}")
    for phase, count in tally.where.most_common():
        print(f"    after noting {phase!r:<27}{count}")
    print(f"runs that ended before their moment     {tally.ended}")
    print(f"photos in the folder at the end         {len(album.hashes)}")
    print(f"contents that ever lay there            {len(album.contents)}")
    print(f"photos encoded over all runs            {tally.encoded}")
    print(f"    of them encoded again               {tally.again}")
    print(f"    allowed: {BATCH} a kill                 {BATCH * tally.kills}")
    print(f"differences                             {len(tally.wrong)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--photos", type=int, default=2000)
    parser.add_argument("--changes", type=int, default=64, help="edits before each run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--forked", action="store_true", help="spare each process its start-up")
    parser.add_argument("--folder", type=Path, help="a new folder to work in, kept at the end")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as passing, tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache  # of towers, which is not to be the user's
        campaign = Campaign(
            options.folder or Path(passing),
            partial(ForkedRun, forked_program()) if options.forked else OwnProcess,
            photos=options.photos,
            seed=options.seed,
        )
        try:
            while campaign.tally.kills < options.kills:
                campaign.kill_once()
                if campaign.tally.kills % 10 == 0:
                    print(f"{campaign.tally.kills} kills, {campaign.tally.again} again", flush=True)
                campaign.album.change(options.changes)
        except KeyboardInterrupt:
            print("interrupted: comparing with a fresh index", flush=True)
        campaign.finish()
    show(campaign)
    sys.exit(1 if campaign.tally.wrong else 0)


if __name__ == "__main__":
    main()
