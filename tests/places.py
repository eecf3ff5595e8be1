"""Where the tests find the repository, their own programs and their data."""

from pathlib import Path

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
DATA = TESTS / "data"
EXAMPLES = ROOT / "examples" / "photos"
PHOTO = EXAMPLES / "food" / "cup-of-espresso.jpg"
