"""What admits the clients of one frontend: made of its tables, and kept where only their values change."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tcpbalance.admission.access import Access
from tcpbalance.admission.control import AdmissionControl
from tcpbalance.admission.lists import DenyFile, admits_all, make_admission
from tcpbalance.admission.report import ban_facts
from tcpbalance.services.frontend import Frontend
from tcpbalance.services.shared import Shared


class FrontendAdmission:
    """Has clients admitted by the lists and limits of a frontend.

    :param shared: what all services of the balancer share.
    :param frontend: has the tables.
    :param lists: what has been made of its ``access`` already; None to make it.
    :param on_change: called when `in_force` is another, because an operator has banned the first client, or
        none is banned any more.
    :param before: what admits the clients of the frontend until this one does; None where there is none.
    :raises DenyFileError: the deny file has mistakes.
    :ivar control: knows the clients, and those that are banned; decides nothing where all are admitted.
    """

    def __init__(
        self,
        shared: Shared,
        frontend: Frontend,
        lists: Access | None,
        on_change: Callable[[], object],
        before: FrontendAdmission | None = None,
    ) -> None:
        self._shared = shared
        self._frontend = frontend
        self._on_change = on_change
        self._before = before
        self._shares_bans = False
        if before is not None:
            self.control = before.prepare_change(frontend, lists)
        else:
            self.control = frontend.admission or make_admission(
                frontend.access, frontend.limits, shared.clock, lists
            )

    @property
    def in_force(self) -> AdmissionControl | None:
        """What admits clients; None where all are admitted, so that it costs them nothing."""
        frontend = self._frontend
        is_idle = frontend.admission is None and admits_all(frontend.access, frontend.limits)
        return None if is_idle and not self.control.has_banned_networks else self.control

    def files(self) -> Iterator[DenyFile]:
        """Give what is made of files."""
        access = self._frontend.access
        if access is not None and access.deny_file is not None:
            yield DenyFile(self.control, access)

    def prepare_change(self, frontend: Frontend, lists: Access | None) -> AdmissionControl:
        """Make what admits clients by other tables; what there is, where the tables are the same.

        :param lists: see above.
        :raises DenyFileError: the deny file has mistakes.
        """
        present = self._frontend
        if (frontend.admission, frontend.access, frontend.limits) == (
            present.admission,
            present.access,
            present.limits,
        ):
            return self.control
        if frontend.admission is not None:
            return frontend.admission
        if frontend.access == present.access and present.admission is None:
            # Their file is read in a thread only: it may be large, or a pipe that nothing writes to.
            lists = self.control.access
        return make_admission(frontend.access, frontend.limits, self._shared.clock, lists)

    def adopt(self, frontend: Frontend, control: AdmissionControl) -> None:
        """Have clients admitted by other tables, by what knows the clients where that can be.

        :param control: see `prepare_change`.
        """
        before, self._frontend, present = self._frontend, frontend, self.control
        kept = _one_that_goes_on(before, present, frontend, control)
        if kept is not present:
            self.forget_bans()
            self.control = kept
            self._share_bans()

    def prepare(self) -> None:
        """Have the bans of other processes hold here before there are clients; where others admit them so
        far, the bans are theirs until `begin`."""
        if self._before is None:
            self._share_bans()

    def begin(self) -> None:
        """Admit clients from now on, by what has known them before where that can be."""
        before, self._before = self._before, None
        if before is not None:
            before.forget_bans()
            self.control = _one_that_goes_on(before._frontend, before.control, self._frontend, self.control)
            self._share_bans()
            self._on_change()

    def _share_bans(self) -> None:
        """Have the bans of other processes hold here, and those of this one there, which are reported."""
        self._shares_bans = True
        self.control.on_networks = self._on_change
        if self._shared.following is not None:
            self._shared.following.share_bans(self._frontend.name, self.control)
        elif self.control.on_ban is None:  # An application may have put its own there.
            self.control.on_ban = self._report_ban

    def _report_ban(self, client: bytes, until: float) -> None:
        seconds = until - self._shared.clock()
        self._shared.on_event("ban", ban_facts(self._frontend.name, client, seconds))

    def forget_bans(self) -> None:
        """Have no more to do with the bans of other processes."""
        if not self._shares_bans:
            return  # Another one may share those of the same control by now.
        self._shares_bans = False
        self.control.on_networks = None
        if self._shared.following is not None:
            self._shared.following.forget_bans(self._frontend.name, self.control)
        elif self.control.on_ban == self._report_ban:
            self.control.on_ban = None


def _one_that_goes_on(
    before: Frontend, present: AdmissionControl, frontend: Frontend, control: AdmissionControl
) -> AdmissionControl:
    """Give what admits clients from now on: what there is, if it can go on by other tables.

    :param before: the frontend so far.
    :param present: what has admitted its clients.
    :param control: made of the tables of *frontend*; learns which networks are banned where it is given.
    """
    is_of_tables = before.admission is None and frontend.admission is None
    if control is present or (is_of_tables and present.go_on_by(control.access, frontend.limits)):
        return present
    if present.has_banned_networks:
        control.take_over_networks(present)
    return control
