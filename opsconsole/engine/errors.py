"""Every way an operation can say no: one class per cause, with a stable code and an exit status.

`data` fills the placeholders of the message template. Exit statuses: 1 a bug of ours, 2 bad input, 3 not permitted,
4 not found, 5 conflict or wrong state, 6 a target could not be reached or refused, 7 confirmation needed, 8 partly
failed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar


class ConsoleError(Exception):
    """Base. `field` names the input that is wrong, `targets` the objects concerned, `source_codes` the numbers of the
    documents this cause has there."""

    code: ClassVar[str] = "unexpected_error"
    exit_status: ClassVar[int] = 1
    template: ClassVar[str] = "Unexpected error. Please contact system administrator."
    template_ru: ClassVar[str] = "Произошла непредвиденная ошибка. Обратитесь к системному администратору."
    source_codes: ClassVar[tuple[str, ...]] = ()
    target_state: ClassVar[str] = "failed"
    """What a target is in whose execution this was raised."""

    def __init__(
        self,
        message: str | None = None,
        *,
        field: str | None = None,
        targets: Iterable[dict[str, Any]] = (),
        **data: Any,
    ) -> None:
        self.field = field
        self.targets = list(targets)
        self.data = data
        self.message = message if message is not None else _fill(self.template, {"field": field, **data})
        super().__init__(self.message)

    def as_json(self, language: str = "en") -> dict[str, Any]:
        """The headless error object: code, message, field, targets, source_codes, data."""
        message = self.message
        if (
            language == "ru"
            and self.template_ru
            and message == _fill(self.template, {"field": self.field, **self.data})
        ):
            message = _fill(self.template_ru, {"field": self.field, **self.data})
        return {
            "code": self.code,
            "message": message,
            "field": self.field,
            "targets": self.targets,
            "source_codes": list(self.source_codes),
            "data": self.data,
        }


def _fill(template: str, values: dict[str, Any]) -> str:
    class Known(dict[str, Any]):
        def __missing__(self, key: str) -> str:
            return "?"

    return template.format_map(Known(values))


class UnexpectedError(ConsoleError):
    source_codes = ("cmdb:30004", "trs:1")


# --- 2: bad input -----------------------------------------------------------------------------------------------------


class InvalidRequest(ConsoleError):
    code, exit_status = "invalid_request", 2
    template = "The input is not a JSON object: {reason}."
    template_ru = "Неверное тело запроса: {reason}."
    source_codes = ("trs:9",)


class InvalidParameter(ConsoleError):
    code, exit_status = "invalid_parameter", 2
    template = "{field}: {reason}"


class RequiredFieldMissing(ConsoleError):
    code, exit_status = "required_field_missing", 2
    template = "{field} is required"
    template_ru = "{field}: обязательное поле"


class FieldImmutable(ConsoleError):
    code, exit_status = "field_immutable", 2
    template = "{field} cannot be changed"
    template_ru = "{field}: нельзя изменить"


class EmptyList(ConsoleError):
    code, exit_status = "empty_list", 2
    template = "{field}: the list is empty; name at least one"
    template_ru = "{field}: список пуст"


class NotSupported(ConsoleError):
    code, exit_status = "not_supported", 2
    template = "{what} is not supported here: {reason}"


class ServiceActionUnknown(ConsoleError):
    code, exit_status = "service_action_unknown", 2
    template = "action: {action} is not one of {known}"


class LogPositionConflict(ConsoleError):
    code, exit_status = "log_position_conflict", 2
    template = "{first} and {second} exclude each other"


class LogModeMismatch(ConsoleError):
    code, exit_status = "log_mode_mismatch", 2
    template = "{field} belongs to the mode {other}, not to {mode}"


class OriginalPasswordWrong(ConsoleError):
    code, exit_status = "original_password_wrong", 2
    template = "the original password is wrong"
    template_ru = "неверный исходный пароль"
    source_codes = ("cmdb:300001",)


class VpnCertificateMismatch(ConsoleError):
    code, exit_status = "vpn_certificate_mismatch", 2
    template = "{field}: {reason}"


class PermissionUndefined(ConsoleError):
    code, exit_status = "permission_undefined", 2
    template = "undefined permission {permission}"
    source_codes = ("cmdb:30001",)


# --- 3: not permitted -------------------------------------------------------------------------------------------------


class NotSignedIn(ConsoleError):
    code, exit_status = "not_signed_in", 3
    template = "{reason}"


class AuthenticationFailed(ConsoleError):
    """One text for every cause: which part was wrong would help only a stranger."""

    code, exit_status = "authentication_failed", 3
    template = "the user name, e-mail or password is wrong"
    template_ru = "неверное имя пользователя, адрес или пароль"
    source_codes = ("trs:6",)


class PasswordExpired(ConsoleError):
    code, exit_status = "password_expired", 3
    template = "the password has expired; set a new one with access.users.forget_password or ask an administrator"
    template_ru = "срок действия пароля истёк"
    source_codes = ("trs:7",)


class TokenInvalid(ConsoleError):
    code, exit_status = "token_invalid", 3
    template = "the code is unknown, used or expired; access.users.forget_password sends a new one"
    template_ru = "код неизвестен, использован или просрочен"
    source_codes = ("trs:24",)


class UserDisabled(ConsoleError):
    code, exit_status = "user_disabled", 3
    template = "the user {user} is disabled; ask an administrator: {administrators}"


class ModuleDisabled(ConsoleError):
    code, exit_status = "module_disabled", 3
    template = "the module {module} is not switched on for {user}; missing: {missing}; who could: {who_could}"


class PermissionDenied(ConsoleError):
    code, exit_status = "permission_denied", 3
    template = "{user} may not {operation}{on}; missing: {missing}; who could: {who_could}"


class PermissionGrantDenied(ConsoleError):
    code, exit_status = "permission_grant_denied", 3
    template = "{user} cannot grant {permission}: nobody gives what he does not hold himself"
    source_codes = ("cmdb:30002",)


class NobodyCanApprove(ConsoleError):
    code, exit_status = "nobody_can_approve", 3
    template = (
        "nobody but {user} can approve {operation}: another enabled user needs {missing} on every target; "
        "who can grant it: {administrators}"
    )


class BreakGlassOff(ConsoleError):
    code, exit_status = "break_glass_off", 3
    template = "break-glass is switched off here (settings.toml: break_glass); a second person must approve: {why}"


class ReadOnly(ConsoleError):
    code, exit_status = "permission_denied", 3
    template = "nothing can be changed here: {reason}"


# --- 4: not found -----------------------------------------------------------------------------------------------------


class ObjectNotFound(ConsoleError):
    code, exit_status = "object_not_found", 4
    template = "no {entity} {id}{hint}"


class LogFileMissing(ConsoleError):
    code, exit_status = "log_file_missing", 4
    template = "{host}: there is no log file {path}"


# --- 5: conflict or wrong state ---------------------------------------------------------------------------------------


class StateConflict(ConsoleError):
    code, exit_status = "state_conflict", 5
    template = "{action} is not possible in the state {state}"


class NameNotUnique(ConsoleError):
    code, exit_status = "name_not_unique", 5
    template = "there is a {entity} named {name} already"


class ObjectInUse(ConsoleError):
    code, exit_status = "object_in_use", 5
    template = "{entity} {name} is used by {users}"


class LinkCycle(ConsoleError):
    code, exit_status = "link_cycle", 5
    template = "{what} would close a circle: {path}"


class InstanceBusy(ConsoleError):
    code, exit_status = "instance_busy", 5
    template = "{application} on {host} is {state}; wait until that has ended"


class LogPathNotSet(ConsoleError):
    code, exit_status = "log_path_not_set", 5
    template = "{application} has no {field}; set it with cmdb.applications.update"


class HostOffline(ConsoleError):
    code, exit_status = "host_offline", 5
    template = "{host} is out of service; change its status to raw first"


class HostHasInstances(ConsoleError):
    code, exit_status = "host_has_instances", 5
    template = "{host} cannot become {status}: it carries instances of {applications}"


class PlanStale(ConsoleError):
    code, exit_status = "plan_stale", 5
    template = "what was planned is no longer what would happen; look at the new plan and confirm that"


class TooManyAttempts(ConsoleError):
    code, exit_status = "too_many_attempts", 5
    template = "too many attempts; try again in {retry_after} s"
    template_ru = "слишком много попыток; повторите через {retry_after} с"


class LeaseHeld(ConsoleError):
    code, exit_status = "lease_held", 5
    template = "{resource} is being worked on by {actor} ({purpose}) since {age} s; wait, or leases.steal with a reason"


class ApprovalInvalid(ConsoleError):
    code, exit_status = "approval_invalid", 5
    template = "the approval {id} cannot be used: {reason}"


class SecretsLocked(ConsoleError):
    code, exit_status = "secrets_locked", 5
    template = "the secrets are locked; unlock them with: opsconsole unlock"


class VpnClientAlreadyRevoked(ConsoleError):
    code, exit_status = "vpn_client_already_revoked", 5
    template = "{name} was revoked already, at {revoked_date}"
    template_ru = "{name}: сертификат уже отозван {revoked_date}"


class VpnCaKeyMissing(ConsoleError):
    code, exit_status = "vpn_ca_key_missing", 5
    template = "the key of the authority {name} is not here; {remedy}"


class SchemaMismatch(ConsoleError):
    code, exit_status = "schema_mismatch", 5
    template = "the database has schema {found}, this program needs {wanted}; {remedy}"


class DatabaseUnavailable(ConsoleError):
    code, exit_status = "database_unavailable", 6
    template = "the database cannot be used: {reason}"


class OutcomeUnknown(ConsoleError):
    code, exit_status = "outcome_unknown", 6
    template = "what happened is not known: {reason}; check: {check}"
    target_state = "unknown"


class Cancelled(ConsoleError):
    code, exit_status = "cancelled", 5
    template = "cancelled by {by}: {proof}"
    target_state = "cancelled"


# --- 6: a target could not be reached or refused ----------------------------------------------------------------------


class HostUnreachable(ConsoleError):
    code, exit_status = "host_unreachable", 6
    template = "{host} cannot be reached: {reason}"


class HostKeyUnknown(ConsoleError):
    code, exit_status = "host_key_unknown", 6
    template = "{host}: unknown host key {fingerprint}; compare it with the machine's own, then: hosts.trust"


class HostKeyChanged(ConsoleError):
    code, exit_status = "host_key_changed", 6
    template = "{host}: the host key changed to {fingerprint}; find out why before anything else ({known_in})"


class HostAgentCallFailed(ConsoleError):
    code, exit_status = "host_agent_call_failed", 6
    template = "{host}: {reason}"
    source_codes = ("cmdb:30001",)


class ServiceActionFailed(ConsoleError):
    code, exit_status = "service_action_failed", 6
    template = "{action} of {service} on {host} failed: {reason}"


class StepFailed(ConsoleError):
    code, exit_status = "step_failed", 6
    template = "{host}: step {step} ended with {how}: {said}"


class StepTimedOut(ConsoleError):
    code, exit_status = "step_timed_out", 6
    template = "{host}: step {step} was stopped after {seconds} s: {said}"


# --- 7, 8 -------------------------------------------------------------------------------------------------------------


class ConfirmationRequired(ConsoleError):
    code, exit_status = "confirmation_required", 7
    template = "{why}; confirm with: {expect_hint}"


class ApprovalRequired(ConsoleError):
    code, exit_status = "approval_required", 7
    template = "a second person must approve: {why}; {how}"


class PartlyFailed(ConsoleError):
    """Some targets did, some did not: `targets` says which, each with its own error."""

    code, exit_status = "partly_failed", 8
    template = "{done} of {total} done; failed: {failed}"
