"""The conformance suite of the storage contract: run it over a backend to prove the backend.

    class TestMyStorage(StorageContract):
        @pytest.fixture(scope="class")
        @classmethod
        def storage(cls) -> Iterator[Storage]:
            with closing(MyStorage(...)) as storage:
                yield storage

The suite uses new keys throughout and removes little, so give it a store of its own; one that
holds other objects will do. It knows `storage.base` only, and must not know any backend.
"""

from tests.storage.contract_reading import ReadingContract
from tests.storage.contract_together import TogetherContract
from tests.storage.contract_writing import WritingContract


class StorageContract(WritingContract, ReadingContract, TogetherContract):
    """Everything that a backend promises, as tests over a `storage` fixture."""
