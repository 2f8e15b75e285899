"""Run tests of the script."""
import io
import sys
import unittest


class Case(unittest.TestCase):
    """Two tests."""

    def test_good(self):
        """Pass."""
        self.assertEqual(__name__, '__main__')

    def test_bad(self):
        """Fail."""
        self.assertEqual(1, 2)


result = unittest.main(argv=[sys.argv[0]], exit=False, testRunner=unittest.TextTestRunner(
    stream=io.StringIO())).result
print(result, [text for _, text in result.failures])
