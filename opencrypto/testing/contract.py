"""
The contract that every driver keeps, as one class of tests. See docs/howto/test-your-driver.md.
"""

from __future__ import annotations

from opencrypto.testing._answers import Answers
from opencrypto.testing._claims import Claims
from opencrypto.testing._completion import Completion
from opencrypto.testing._endurance import Endurance
from opencrypto.testing._key_clauses import KeyOperations
from opencrypto.testing._life import Life
from opencrypto.testing._pieces import Pieces
from opencrypto.testing._places import Places


class DriverContract(Claims, Answers, Completion, Places, Pieces, Life, Endurance, KeyOperations):
    """
    Every clause of `opencrypto.testing.CLAUSES`, tried on one driver. Subclass it::

        from opencrypto.testing import DriverContract
        from opencrypto_mydriver import MyDriver

        class TestMyDriver(DriverContract):
            driver_class = MyDriver

    What is tried follows from the driver's capabilities and key operations. Test names carry the
    clause; the message of a failure begins with the clause that is broken, which may be another.

    Attributes:
        driver_class: The driver; `make_driver` calls it.
        deviations: Clause (``"D14"``), or clause and trials (``"D14:AES_CBC-*"``), to the reason
            why the driver may fail it. The tests must then fail: a stale excuse is an error.
        may_be_absent: Why the driver may not be here, where that is so: its tests then skip with
            the reason; without it, DriverUnavailable is a failure.
        patience: Seconds to wait for anything, before it counts as never.
        quick: Whether long runs are to be shorter.
        soak: Seconds that each long run goes on for.
    """
