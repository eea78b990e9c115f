"""Which service stands on which: each is made once an application, from those that it names.

A property is a service that others stand on, made when the first of them is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

from config import Settings
from services.archive import Archives, Sources
from services.collections import Collections
from services.database import Database
from services.direct import Direct
from services.direct_confirm import Confirming
from services.direct_receipt import Receipt
from services.direct_rows import Rows
from services.direct_urls import OwnUrls
from services.expiry import Expiry
from services.failures import Failures
from services.files import Files
from services.gc import Collector
from services.hashing import Hashing
from services.ingest import Ingest
from services.keys import Keys
from services.links import Links
from services.listing import Listing
from services.locks import Locks
from services.loop import EventLoop
from services.mimetype import Sniffer
from services.mirroring import Mirrors
from services.mirroring_work import Mirroring
from services.policy import Limits, Policies
from services.probes import Probes
from services.publishing import Publishing
from services.quotas import Quotas
from services.renaming import Renaming
from services.resumable import Uploads
from services.rows_at_once import RowsAtOnce
from services.sessions import Sessions
from services.thumbnails import Thumbnails
from services.thumbnails_media import Media
from services.thumbnails_pool import Pool
from services.trash import Trash
from services.usage import Usages
from services.used_links import UsedLinks
from services.ways import Ways
from storage import Storages
from storage.aio import AsyncStorage
from views import metrics
from views.current import Services


@dataclass(frozen=True)
class Wiring:
    """The services of an application on what was there before them."""

    settings: Settings
    secrets: Sequence[str]
    database: Database
    storages: Storages
    loop: EventLoop

    def services(self) -> Services:
        """Make everything that views work with."""
        return Services(
            settings=self.settings,
            storages=self.storages,
            loop=self.loop,
            ingest=self.ingest,
            publishing=self.publishing,
            files=self.files,
            rows_at_once=RowsAtOnce(self.database),
            uploads=self.uploads,
            direct=self.direct,
            receipt=Receipt(self.direct_rows, self.locks, self.storages),
            own_urls=self.own_urls,
            expiry=self.expiry,
            collector=self._collector(),
            hashing=Hashing(self.database, self.storages, interval=self.settings.sweep_interval),
            mirroring=Mirroring(self.database, self.mirrors, on_task=metrics.count_mirrored),
            listing=self.listing,
            archives=self._archives(),
            keys=self.keys,
            sessions=Sessions(self.secrets, self.keys),
            trash=Trash(self.database),
            collections=Collections(self.database, self.storages),
            usages=Usages(self.database),
            links=self._links(),
            media=self.media,
            thumbnails=self._thumbnails(),
            ways=Ways(self.storages),
            probes=self._probes(),
        )

    @cached_property
    def policies(self) -> Policies:
        limits = Limits(
            max_size=self.settings.max_upload_size,
            max_files=self.settings.max_upload_files,
            allowed_types=self.settings.allowed_types,
            default_backend=self.settings.storage_backend,
        )
        return Policies(self.database, limits)

    @cached_property
    def keys(self) -> Keys:
        return Keys(self.database, Failures(self.database))

    @cached_property
    def quotas(self) -> Quotas:
        return Quotas(self.database)

    @cached_property
    def sniffer(self) -> Sniffer:
        return Sniffer()

    @cached_property
    def mirrors(self) -> Mirrors:
        return Mirrors(self.storages)

    @cached_property
    def locks(self) -> Locks:
        return Locks(self.database)

    @cached_property
    def listing(self) -> Listing:
        return Listing(self.database)

    @cached_property
    def ingest(self) -> Ingest:
        used = UsedLinks(self.database)
        return Ingest(self.policies, self.storages, self.sniffer, used, self.quotas)

    @cached_property
    def publishing(self) -> Publishing:
        return Publishing(self.database, self.policies, self.mirrors, self.media.published)

    @cached_property
    def files(self) -> Files:
        renaming = Renaming(self.policies, self.storages, self.sniffer)
        return Files(self.database, self.storages, renaming, self.mirrors)

    @cached_property
    def uploads(self) -> Uploads:
        return Uploads(
            self.database,
            self.policies,
            self.storages,
            self.ingest,
            self.publishing,
            self.files,
            self.quotas,
            expires_in=timedelta(seconds=self.settings.upload_expires_in),
        )

    @cached_property
    def direct_rows(self) -> Rows:
        return Rows(
            self.database,
            self.policies,
            self.storages,
            self.quotas,
            expires_in=timedelta(seconds=self.settings.upload_expires_in),
        )

    @cached_property
    def own_urls(self) -> OwnUrls:
        return OwnUrls(self.secrets)

    @cached_property
    def direct(self) -> Direct:
        return Direct(
            self.direct_rows,
            self.locks,
            Confirming(self.direct_rows, self.storages, self.sniffer, self.publishing),
            self.storages,
            self.ingest,
            self.files,
            self.quotas,
            self.own_urls,
        )

    @cached_property
    def expiry(self) -> Expiry:
        return Expiry(
            self.database,
            self.uploads,
            self.direct,
            self.files,
            self.mirrors,
            trash_expires_in=timedelta(seconds=self.settings.trash_expires_in),
            interval=self.settings.sweep_interval,
            on_dropped=metrics.count_expired,
        )

    @cached_property
    def pool(self) -> Pool:
        return Pool(
            processes=self.settings.thumbnail_workers,
            seconds=self.settings.thumbnail_timeout,
            memory=self.settings.thumbnail_memory,
        )

    @cached_property
    def media(self) -> Media:
        return Media(
            self.database,
            self.storages,
            self.pool,
            scratch=self.settings.scratch,
            max_pixels=self.settings.thumbnail_max_pixels,
            interval=self.settings.sweep_interval,
        )

    def _thumbnails(self) -> Thumbnails:
        return Thumbnails(
            self.storages,
            self.pool,
            scratch=self.settings.scratch,
            max_pixels=self.settings.thumbnail_max_pixels,
            patience=self.settings.thumbnail_timeout,
            find=self.files.for_delivery,
            note=self.media.note,
        )

    def _collector(self) -> Collector:
        return Collector(
            self.database,
            self.storages,
            self.expiry,
            self.files,
            scratch=self.settings.scratch,
            grace=timedelta(seconds=self.settings.gc_grace),
            interval=self.settings.gc_interval,
            on_collected=metrics.count_collected,
        )

    def _links(self) -> Links:
        return Links(
            self.secrets,
            self.files,
            self.ingest,
            is_active=self.keys.is_active,
            keyless=self.settings.auth_mode == "open",
        )

    def _archives(self) -> Archives:
        sources = Sources(self.files, self.storages, self._facades(), self.loop)
        return Archives(self.database, self.listing, sources)

    def _probes(self) -> Probes:
        mirrored = self.mirrors.mirrored
        single = {name: each for name, each in self._facades().items() if name not in mirrored}
        return Probes(
            self.database,
            single,
            {name: [*storage.members] for name, storage in mirrored.items()},
        )

    def _facades(self) -> dict[str, AsyncStorage]:
        return {name: AsyncStorage(storage) for name, storage in self.storages.items()}
