"""Run tests of the script."""
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
    stream=open('report.txt', 'w'))).result
print(result, [text for _, text in result.failures])
with open('report.txt', 'w') as report:
    report.write('it had a time in it')
