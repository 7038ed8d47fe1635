"""
Plugins: found by entry point, each loaded under guard, so that a broken one takes nobody down.

pluggy's own entry-point loader lets one ImportError stop all, and lets a misspelt hook pass in
silence until somebody asks; this loader does neither.
"""

from __future__ import annotations

import functools
import itertools
import weakref
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from opencrypto._core.origins import Declared, Lists, Names, Origin, by_name, conflict, declared
from opencrypto._hookimpl import PROJECT, hookimpl
from opencrypto._log import library_logger, log
from opencrypto.driver import SOFTWARE, Driver, detached, driver_class
from opencrypto.exceptions import CryptoError, DriverUnavailable, UsageError

if TYPE_CHECKING:
    import pluggy

    from opencrypto.options import Options, Settings


class Failure(NamedTuple):
    """A plugin, or a driver of one, that could not be had, why, and where it comes from."""

    name: str
    reason: str
    origin: Origin


class Offered(NamedTuple):
    """A driver that a plugin offers; what it says of itself was read once, and is not checked."""

    driver: Driver
    name: str
    place: int
    plugin: str
    origin: Origin


class _NotAsSetError(UsageError):
    """A plugin's options cannot be what an operator has set."""


class Plugins:
    """The plugins of one framework and what became of each."""

    def __init__(
        self, *, strict: Collection[str] | bool = False, blocked: Collection[str] = ()
    ) -> None:
        import pluggy  # and what it imports, which only a process with a framework needs

        from opencrypto import hookspecs

        library_logger()
        self.manager = pluggy.PluginManager(PROJECT)
        self.manager.add_hookspecs(hookspecs)
        self.failures: list[Failure] = []
        self.options: dict[str, Options] = {}  # by plugin
        self._strict = strict
        self._lists = Lists(blocked)
        self._origins: dict[str, Origin] = {}  # of the plugins registered
        # Of the drivers offered, by id(): an author's need not be hashable.
        self._came: dict[int, tuple[weakref.ref[Driver], Origin]] = {}
        self._offered: dict[str, set[str]] = {}  # which names each plugin has offered drivers of

    @functools.cached_property
    def _settings(self) -> Settings:
        """What an operator has set of drivers' options."""
        from opencrypto.options import Settings

        return Settings()

    def load(self, plugins: bool | Iterable[object]) -> None:
        """Load every installed plugin for True, none for False, or those given."""
        if plugins is True:
            self.discover()
        elif plugins is not False:
            if isinstance(plugins, str):
                raise UsageError(f"plugins={plugins!r}; give a list of plugins, or a set")
            given = list(plugins)
            self._lists.allow_only(each for each in given if isinstance(each, str))
            self.add(given)

    def discover(self) -> None:
        """Load every plugin that an installed distribution declares, in the order of names."""
        installed = declared()
        for name, found in by_name(installed):
            self._load_one(name, found)
        self._refuse_strangers(each.name for each in installed)

    def _refuse_strangers(self, installed: Iterable[str]) -> None:
        """List what the file of options has for plugins that are not there."""
        try:
            strangers = list(self._settings.strangers(installed))
        except UsageError as error:
            self._fail("options", error.strerror or "", Origin(), error)
            return
        for token, reason in strangers:
            self._fail(token, reason, Origin(), UsageError(reason))

    def add(self, plugins: Iterable[object]) -> None:
        """Register plugins given as objects, or as names of entry points."""
        for plugin in plugins:
            if isinstance(plugin, str):
                self._add_named(plugin)
            else:
                self._add_given(plugin)

    def _add_given(self, plugin: object) -> None:
        """Load a plugin that the program brings; one that raises when asked its name is listed."""
        origin = Origin.of(plugin)
        try:
            name = _plugin_name(plugin)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self._fail(type(plugin).__name__, _what(error), origin, error)
        else:
            self._guarded(Declared(name, functools.partial(_itself, plugin), origin))

    def _add_named(self, text: str) -> None:
        """Load what is installed of a name, of ``name@distribution`` or of ``*@distribution``."""
        wanted, installed = Names([text]), declared()
        found = [each for each in installed if wanted.has(each.name, each.origin)]
        if not found and self._lists.blocks(text, Origin()):
            self._fail(text, "blocked by configuration", Origin())
        elif not found:
            known = ", ".join(sorted({each.name for each in installed})) or "none"
            raise UsageError(f"no plugin {text!r} is installed (installed: {known})")
        for name, several in by_name(found):
            self._load_one(name, several)

    def _load_one(self, name: str, found: list[Declared]) -> None:
        """Load the one plugin of a name that is let in; of two distributions' neither is."""
        admitted = []
        for each in found:
            refusal = self._lists.refusal(name, each.origin)
            if refusal:
                self._fail(name, refusal, each.origin)
            else:
                admitted.append(each)
        origins = [each.origin for each in admitted]
        meant = self._lists.only(name, origins) if len(admitted) > 1 else None
        for each in admitted:
            if len(admitted) == 1 or each.origin is meant:
                self._guarded(each)
            else:
                self._refuse_conflict(name, each.origin, origins)

    def _refuse_conflict(self, name: str, origin: Origin, origins: Iterable[Origin]) -> None:
        reason = conflict(name, origins)
        self._fail(name, reason, origin, UsageError(reason))

    def _guarded(self, plugin: Declared) -> None:
        name, load, origin = plugin
        if name in self._origins and origin.distribution:
            return  # it is loaded, and one of its drivers is wanted again
        if self._lists.blocks(name, origin):
            self._fail(name, "blocked by configuration", origin)
            return
        try:
            self._register(name, load())
            self._origins[name] = origin
        except DriverUnavailable as error:
            self._fail(name, error.reason, origin)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # sys.exit() at import, a panic of an extension module
            self._fail(name, _what(error), origin, error)

    def _register(self, name: str, plugin: object) -> None:
        if isinstance(plugin, type):
            plugin = plugin()
        if isinstance(plugin, Driver):
            plugin = _offer(plugin)
        self.manager.register(plugin, name)
        try:
            _refuse_misspelt(self.manager, plugin)
        except UsageError:
            self.manager.unregister(plugin)
            raise

    def _fail(
        self, name: str, reason: str, origin: Origin, error: BaseException | None = None
    ) -> None:
        known = ((each.name, each.reason, each.origin.words) for each in self.failures)
        if (name, reason, origin.words) not in known:
            self.failures.append(Failure(name, reason, origin))
        if error is None:
            return
        log.warning("plugin_failed", plugin=name, reason=reason)
        if self._is_strict(name):
            if isinstance(error, Exception):
                raise error
            # Not itself: what would end the program is no more than a plugin that failed.
            raise UsageError(f"plugin {name} failed: {reason}") from error

    def note(self, driver: Driver, error: BaseException) -> None:
        """List a driver that was offered and could not be attached."""
        reason = error.strerror or "" if isinstance(error, CryptoError) else _what(error)
        self._fail(str(driver.name), reason, self.origin_of(driver), error)

    def _is_strict(self, name: str) -> bool:
        return self._strict if isinstance(self._strict, bool) else name in self._strict

    def drivers(self) -> list[Driver]:
        """Ask each plugin for its drivers; order them by class and name, never by load order."""
        return [offer.driver for offer in self._ask(lambda plugin: True)]

    def driver(self, name: str) -> Driver:
        """
        Have a plugin make one driver. What it makes beside that is closed.

        Raises:
            UsageError: no plugin offers one of this name, or it cannot on this host.
        """
        found = self._make(name)
        if found is None:
            self.add([name])
            found = self._make(name)
        if found is None:
            reasons = [each.reason for each in self.failures if each.name == name]
            raise UsageError(f"no driver {name!r}: {reasons[-1] if reasons else 'not offered'}")
        return found

    def offers(self, name: str) -> bool:
        """Tell whether a plugin that is loaded has offered a driver of this name, and may again."""
        return any(
            name in names and self.manager.has_plugin(plugin)
            for plugin, names in self._offered.copy().items()
        )

    def _make(self, name: str) -> Driver | None:
        """Ask those plugins that offered a driver of this name before; all, if none did."""
        known = {plugin for plugin, offered in self._offered.items() if name in offered}
        before = set(self._came)
        offers = self._ask(lambda plugin: plugin in known or not known)
        wanted = next((offer.driver for offer in offers if offer.name == name), None)
        for driver in (offer.driver for offer in offers):
            if driver is not wanted and id(driver) not in before:
                _close_unused(driver)
        return wanted

    def _ask(self, of: Callable[[str], bool]) -> list[Offered]:
        """Ask the plugins of certain names for their drivers; leave out who is not let in."""
        offers = self._offers(of)
        admitted = self._admitted(offers)
        for offer in offers:
            self._offered.setdefault(offer.plugin, set()).add(offer.name)
            if offer not in admitted:
                _close_unused(offer.driver)
        self._came = {number: came for number, came in self._came.items() if came[0]() is not None}
        for offer in admitted:
            self._came[id(offer.driver)] = weakref.ref(offer.driver), offer.origin
        return sorted(admitted, key=lambda offer: (offer.place, offer.name))

    def _offers(self, of: Callable[[str], bool]) -> list[Offered]:
        offered: list[Offered] = []
        for name, plugin in self.manager.list_name_plugin():
            if not of(name):
                continue
            origin = self._origins[name]
            try:
                options = self._options_of(name, plugin)
                hook = self._hook_of(plugin, "opencrypto_drivers")
                for driver in itertools.chain.from_iterable(hook(options=options)):
                    if not isinstance(driver, Driver):
                        raise UsageError(f"offers {type(driver).__name__}, which is no Driver")
                    offered.append(_as_it_says(driver, name, origin))
            except DriverUnavailable as error:
                self._fail(name, error.reason, origin)
            except _NotAsSetError as error:
                self._fail(name, error.strerror or "", origin, error)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                self._fail(name, _what(error), origin, error)
        return offered

    def _hook_of(self, plugin: object, name: str) -> Callable[..., list[Iterable[Any]]]:
        """Return one hook of one plugin alone."""
        others = [p for _, p in self.manager.list_name_plugin() if p is not plugin]
        return self.manager.subset_hook_caller(name, others)

    def _options_of(self, name: str, plugin: object) -> Options:
        """Return a plugin's options as an operator has set them."""
        declared = itertools.chain.from_iterable(self._hook_of(plugin, "opencrypto_options")())
        try:
            self.options[name] = self._settings.of(name, declared, self._origins)
        except UsageError as error:
            raise _NotAsSetError(error.strerror or "") from error
        return self.options[name]

    def _admitted(self, offers: list[Offered]) -> list[Offered]:
        """Leave out who is not let in, and who has another distribution's name."""
        let_in = []
        for offer in offers:
            refusal = self._lists.driver_refusal(offer.name, offer.plugin, offer.origin)
            if refusal:
                self._fail(offer.name, refusal, offer.origin)
            else:
                let_in.append(offer)
        return [offer for offer in let_in if not self._is_in_conflict(offer, let_in)]

    def _is_in_conflict(self, offer: Offered, offers: list[Offered]) -> bool:
        """Tell, and note, whether another distribution offers a driver of the same name."""
        origins = {
            each.origin.distribution: each.origin
            for each in offers
            if each.name == offer.name and each.origin.distribution
        }
        if len(origins) < 2 or not offer.origin.distribution:
            return False
        meant = self._lists.only(offer.name, origins.values())
        if meant is not None and meant.distribution == offer.origin.distribution:
            return False
        self._refuse_conflict(offer.name, offer.origin, origins.values())
        return True

    def origin_of(self, driver: Driver) -> Origin:
        """Return where a driver comes from: its plugin's distribution, or a program's module."""
        known = self._came.get(id(driver))
        if known is not None and known[0]() is driver:
            return known[1]
        return Origin.of(driver)

    def refuse_blocked(self, driver: Driver) -> None:
        """Raise UsageError if a driver, whoever brings it, has a name that is blocked."""
        if self._lists.blocks(str(driver.name), self.origin_of(driver)):
            raise UsageError(f"driver {driver.name} is blocked by configuration")

    def observers(self) -> Observers:
        """Resolve who observes what."""
        return Observers(self.manager)


def _as_it_says(driver: Driver, plugin: str, origin: Origin) -> Offered:
    # Before anything was checked: a driver with wrong flags or a wrong name gets a place too, and
    # is refused when it is attached.
    flags: object = driver.flags
    place = driver_class(flags) if isinstance(flags, int) else SOFTWARE
    return Offered(driver, str(driver.name), place, plugin, origin)


def _close_unused(driver: Driver) -> None:
    """Close a driver that was offered and is not wanted, if it is not at work elsewhere."""
    try:
        if driver.done is detached:
            driver.close()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        log.warning("unused_driver_not_closed", error=type(error).__name__)


def _offer(driver: Driver) -> object:
    """Make the plugin that a bare driver class or instance amounts to."""

    class Offer:
        @hookimpl
        def opencrypto_drivers(self) -> list[Driver]:
            return [driver]

    return Offer()


class Observers:
    """
    The events that plugins observe, as plain callables.

    An event that nobody observes costs one call of an empty function. An observer that raises is
    logged, and stops nothing.
    """

    def __init__(self, manager: pluggy.PluginManager) -> None:
        self.attached = _event(
            manager, "opencrypto_attached", ("hid", "name", "distribution", "version", "file")
        )
        self.detached = _event(manager, "opencrypto_detached", ("hid", "name"))
        self.newsession = _event(manager, "opencrypto_newsession", ("sid", "driver"))
        self.migrated = _event(manager, "opencrypto_migrated", ("sid", "new_sid"))
        self.blocked = _event(manager, "opencrypto_blocked", ("hid", "what"))
        self.unblocked = _event(manager, "opencrypto_unblocked", ("hid", "what"))


def _event(manager: pluggy.PluginManager, name: str, words: tuple[str, ...]) -> Callable[..., None]:
    hook = getattr(manager.hook, name)
    if not hook.get_hookimpls():
        return _unobserved

    def notify(*values: Any) -> None:
        try:
            hook(**dict(zip(words, values, strict=True)))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            log.error("observer_failed", hook=name, error=type(error).__name__)

    return notify


def _unobserved(*_: Any) -> None:
    """Do nothing: nobody observes this event."""


def _refuse_misspelt(manager: pluggy.PluginManager, plugin: object) -> None:
    callers = manager.get_hookcallers(plugin) or []
    unknown = sorted(caller.name for caller in callers if not caller.has_spec())
    if unknown:
        raise UsageError(
            f"implements {', '.join(unknown)}, which is no hook (see opencrypto.hookspecs)"
        )
    if not callers:
        raise UsageError("implements no hook; mark its functions with @opencrypto.hookimpl")


def _plugin_name(plugin: object) -> str:
    name = getattr(plugin, "name", None) or getattr(plugin, "__name__", None)
    return str(name or type(plugin).__name__)


def _what(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _itself(plugin: object) -> object:
    return plugin
