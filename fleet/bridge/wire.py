"""The words of ``fleet.bridge.protocol`` as the protobuf that LiveKit speaks, and back."""

from __future__ import annotations

from google.protobuf.message import DecodeError
from livekit.protocol import agent as proto
from livekit.protocol import models

from fleet.bridge.protocol import (
    Answer,
    Assigned,
    Event,
    JobOffer,
    JobStatus,
    JobUpdate,
    Load,
    Offered,
    Register,
    Registered,
    Resumed,
    Terminated,
    ToServer,
    Unreadable,
)

_STATUS = {
    JobStatus.RUNNING: proto.JobStatus.JS_RUNNING,
    JobStatus.SUCCESS: proto.JobStatus.JS_SUCCESS,
    JobStatus.FAILED: proto.JobStatus.JS_FAILED,
}


def decode(data: bytes) -> Event | Unreadable:
    """Never raises: what cannot be read is Unreadable."""
    message = proto.ServerMessage()
    try:
        message.ParseFromString(data)
    except DecodeError:
        return Unreadable(why=f"{len(data)} bytes that are no message")
    match message.WhichOneof("message"):
        case "register":
            reply = message.register
            return Registered(worker_id=reply.worker_id, server_version=reply.server_info.version)
        case "availability" if message.availability.job.id:
            return Offered(job=_offer(message.availability.job))
        case "assignment" if message.assignment.job.id:
            return Assigned(job_id=message.assignment.job.id)
        case "termination" if message.termination.job_id:
            return Terminated(job_id=message.termination.job_id)
        case other:
            return Unreadable(why=f"{other or 'a message'} of no use here")


def encode(message: ToServer) -> bytes:
    return _message(message).SerializeToString()


def _message(message: ToServer) -> proto.WorkerMessage:
    match message:
        case Register():
            return proto.WorkerMessage(register=_register(message))
        case Answer():
            return proto.WorkerMessage(availability=_answer(message))
        case Load():
            full = proto.WorkerStatus.WS_FULL if message.full else proto.WorkerStatus.WS_AVAILABLE
            update = proto.UpdateWorkerStatus(
                status=full, load=message.load, job_count=message.jobs
            )
            return proto.WorkerMessage(update_worker=update)
        case JobUpdate():
            status = _STATUS[message.status]
            job = proto.UpdateJobStatus(job_id=message.job_id, status=status, error=message.error)
            return proto.WorkerMessage(update_job=job)
        case Resumed():
            resumed = proto.MigrateJobRequest(job_ids=list(message.job_ids))
            return proto.WorkerMessage(migrate_job=resumed)


def _register(message: Register) -> proto.RegisterWorkerRequest:
    permissions = models.ParticipantPermission(
        can_publish=True,
        can_subscribe=True,
        can_publish_data=True,
        can_update_metadata=True,
        agent=True,
    )
    return proto.RegisterWorkerRequest(
        type=proto.JobType.JT_ROOM,
        agent_name=message.agent_name,
        version=message.version,
        allowed_permissions=permissions,
    )


def _answer(message: Answer) -> proto.AvailabilityResponse:
    return proto.AvailabilityResponse(
        job_id=message.job_id,
        available=message.available,
        participant_identity=message.identity,
        participant_name=message.name,
    )


def _offer(job: proto.Job) -> JobOffer:
    someone = job.participant.identity if job.HasField("participant") else ""
    return JobOffer(
        job_id=job.id,
        dispatch_id=job.dispatch_id,
        room=job.room.name,
        room_sid=job.room.sid,
        room_metadata=job.room.metadata,
        metadata=job.metadata,
        participant_identity=someone or None,
    )
