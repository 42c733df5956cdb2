"""Scenarios for paho-mqtt: paho_client.py HOST PORT VERSION SCENARIO PREFIX, where VERSION is 4 (3.1.1) or 5.

Every wait is for an event (CONNACK, SUBACK, the end of a publish, a message) and has a time-out. "Nothing more arrives" is
proved with a last message: what comes next must be that one.
"""

import queue
import socket
import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

PATIENCE_S = 20
LARGE = bytes((index * 7 + index // 251) % 256 for index in range(256 * 1024))


class Peer:
    """One connection of one client."""

    def __init__(self, name, version=None, clean=True, expiry_s=None, will=None):
        self.version = version or VERSION
        self.messages = queue.Queue()
        self.connected = queue.Queue()
        self.subscribed = queue.Queue()
        self.unsubscribed = queue.Queue()
        self.gone = threading.Event()
        options = {} if self.version == 5 else {"clean_session": clean}
        self.client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=name and f"{PREFIX}-{name}",
            protocol=mqtt.MQTTv5 if self.version == 5 else mqtt.MQTTv311,
            reconnect_on_failure=False,
            **options,
        )
        self.client.max_inflight_messages_set(20)
        self.client.on_connect = lambda c, u, flags, reason, properties: self.connected.put((flags, reason, properties))
        self.client.on_subscribe = lambda c, u, mid, reasons, properties: self.subscribed.put(reasons)
        self.client.on_unsubscribe = lambda c, u, mid, reasons, properties: self.unsubscribed.put(reasons)
        self.client.on_message = lambda c, u, message: self.messages.put(message)
        self.client.on_disconnect = lambda *arguments: self.gone.set()
        if will:
            self.client.will_set(**will)
        if self.version == 5:
            properties = Properties(PacketTypes.CONNECT)
            if expiry_s is not None:
                properties.SessionExpiryInterval = expiry_s
            self.client.connect(HOST, PORT, 60, clean_start=clean, properties=properties)
        else:
            self.client.connect(HOST, PORT, 60)
        self.client.loop_start()
        self.flags, reason, self.properties = self.connected.get(timeout=PATIENCE_S)
        assert not reason.is_failure, f"refused: {reason}"

    def subscribe(self, topic_filter, qos=0, properties=None, **options):
        if self.version == 5:
            result, _ = self.client.subscribe(topic_filter, options=SubscribeOptions(qos, **options), properties=properties)
        else:
            result, _ = self.client.subscribe(topic_filter, qos)
        assert result == mqtt.MQTT_ERR_SUCCESS, result
        reasons = self.subscribed.get(timeout=PATIENCE_S)
        assert [reason.value for reason in reasons] == [qos], f"SUBACK {reasons} for {topic_filter}"
        return self

    def unsubscribe(self, topic_filter):
        self.client.unsubscribe(topic_filter)
        self.unsubscribed.get(timeout=PATIENCE_S)

    def publish(self, topic, payload, qos=0, retain=False, properties=None):
        info = self.client.publish(topic, payload, qos, retain, properties)
        info.wait_for_publish(PATIENCE_S)
        assert info.is_published(), f"{topic} at QoS {qos} was not acknowledged in {PATIENCE_S} s"

    def publish_all(self, topic, payloads, qos):
        """Without waiting in between: many are in flight together."""
        for info in [self.client.publish(topic, payload, qos) for payload in payloads]:
            info.wait_for_publish(PATIENCE_S)
            assert info.is_published(), f"{topic} at QoS {qos} was not acknowledged in {PATIENCE_S} s"

    def receive(self):
        return self.messages.get(timeout=PATIENCE_S)

    def receive_until_last(self):
        """The payload of the next message, or None in place of "last"."""
        payload = self.receive().payload
        return None if payload == b"last" else payload

    def expect(self, topic, payload, qos=None, retain=None):
        message = self.receive()
        got = (message.topic, message.payload[:40], len(message.payload))
        assert (message.topic, message.payload) == (topic, payload), f"{got} instead of {topic} {payload[:40]}"
        assert qos is None or message.qos == qos, f"QoS {message.qos} instead of {qos}: {got}"
        assert retain is None or message.retain == retain, f"RETAIN {message.retain} instead of {retain}: {got}"
        return message

    def disconnect(self, reason=None):
        if reason is None:
            self.client.disconnect()
        else:
            self.client.disconnect(reasoncode=reason)
        assert self.gone.wait(PATIENCE_S)
        self.client.loop_stop()

    def crash(self):
        """The connection ends without DISCONNECT."""
        self.client.socket().shutdown(socket.SHUT_RDWR)
        assert self.gone.wait(PATIENCE_S)
        self.client.loop_stop()


def numbered(count):
    return [b"message %d" % number for number in range(count)]


def exchange(qos):
    """Many messages in a row arrive once each, in order, at the QoS they were sent with."""
    topic = f"{PREFIX}/exchange"
    subscriber, publisher = Peer("sub").subscribe(topic, qos), Peer("pub")
    publisher.publish_all(topic, numbered(200), qos)
    publisher.publish(topic, b"last", qos)
    for payload in numbered(200):
        subscriber.expect(topic, payload, qos, retain=False)
    subscriber.expect(topic, b"last", qos)


def qos_is_the_lower_one():
    for granted in range(3):
        for sent in range(3):
            topic = f"{PREFIX}/lower/{granted}/{sent}"
            subscriber = Peer(f"sub{granted}{sent}").subscribe(topic, granted)
            subscriber.publish(topic, b"x", sent)
            subscriber.expect(topic, b"x", min(granted, sent))
            subscriber.disconnect()


def large():
    topic = f"{PREFIX}/large"
    subscriber, publisher = Peer("sub").subscribe(topic, 2), Peer("pub")
    for qos in range(3):
        publisher.publish(topic, LARGE, qos)
        subscriber.expect(topic, LARGE, qos)
        publisher.publish(topic, b"after", qos)
        subscriber.expect(topic, b"after", qos)


def wildcards():
    subscriber, publisher = Peer("sub"), Peer("pub")
    subscriber.subscribe(f"{PREFIX}/+/b", 1)
    subscriber.subscribe(f"{PREFIX}/deep/#", 1)
    for topic in ("a/x", "a/b/c", "other"):
        publisher.publish(f"{PREFIX}/{topic}", b"not wanted", 1)
    for topic in ("a/b", "z/b", "deep", "deep/a/b/c"):
        publisher.publish(f"{PREFIX}/{topic}", topic.encode(), 1)
        subscriber.expect(f"{PREFIX}/{topic}", topic.encode(), 1)
    subscriber.unsubscribe(f"{PREFIX}/deep/#")
    publisher.publish(f"{PREFIX}/deep/a", b"not wanted", 1)
    publisher.publish(f"{PREFIX}/last/b", b"last", 1)
    subscriber.expect(f"{PREFIX}/last/b", b"last", 1)


def retained():
    topic = f"{PREFIX}/retained"
    publisher = Peer("pub")
    early = Peer("early").subscribe(f"{PREFIX}/#", 1)
    publisher.publish(topic, b"old", 1, retain=True)
    publisher.publish(topic, b"new", 1, retain=True)
    early.expect(topic, b"old", 1, retain=False)
    early.expect(topic, b"new", 1, retain=False)
    late = Peer("late").subscribe(f"{PREFIX}/#", 1)
    late.expect(topic, b"new", 1, retain=True)
    publisher.publish(topic, b"", 1, retain=True)
    late.expect(topic, b"", 1, retain=False)
    latest = Peer("latest").subscribe(f"{PREFIX}/#", 1)
    publisher.publish(topic, b"last", 1)
    latest.expect(topic, b"last", 1, retain=False)


def will():
    topic = f"{PREFIX}/will"
    watcher = Peer("watcher").subscribe(topic, 2)
    for qos in range(3):
        Peer("dying", will={"topic": topic, "payload": b"gone %d" % qos, "qos": qos}).crash()
        watcher.expect(topic, b"gone %d" % qos, qos, retain=False)
    Peer("leaving", will={"topic": topic, "payload": b"not wanted", "qos": 1}).disconnect()
    if VERSION == 5:
        leaving = Peer("insisting", will={"topic": topic, "payload": b"on purpose", "qos": 1})
        leaving.disconnect(ReasonCode(PacketTypes.DISCONNECT, "Disconnect with will message"))
        watcher.expect(topic, b"on purpose", 1)
    Peer("keeping", will={"topic": topic, "payload": b"kept", "qos": 1, "retain": True}).crash()
    watcher.expect(topic, b"kept", 1, retain=False)
    Peer("late").subscribe(topic, 1).expect(topic, b"kept", 1, retain=True)
    watcher.publish(topic, b"", 1, retain=True)
    watcher.expect(topic, b"", 1)


def session():
    topic = f"{PREFIX}/session"
    sleeper = Peer("sleeper", clean=False, expiry_s=300)
    assert not sleeper.flags.session_present
    sleeper.subscribe(topic, 2)
    sleeper.disconnect()
    publisher = Peer("pub")
    for number in range(60):
        publisher.publish(topic, b"%d" % number, 1 + number % 2)
    sleeper = Peer("sleeper", clean=False, expiry_s=300)
    assert sleeper.flags.session_present, "the session was lost"
    # This client shows a QoS 2 message when its PUBREL comes: the order holds within each QoS.
    got = [sleeper.receive() for _ in range(60)]
    for qos in (1, 2):
        numbers = [int(message.payload) for message in got if message.qos == qos]
        assert numbers == list(range(qos - 1, 60, 2)), f"QoS {qos}: {numbers}"
    publisher.publish(topic, b"awake", 0)
    sleeper.expect(topic, b"awake", 0)
    # With the acknowledgement of this one, those for the messages above have been sent, too: nothing is to come twice.
    sleeper.publish(f"{PREFIX}/other", b"", 1)
    sleeper.crash()
    publisher.publish(topic, b"after the crash", 2)
    sleeper = Peer("sleeper", clean=False, expiry_s=300)
    assert sleeper.flags.session_present, "the session was lost with the connection"
    sleeper.expect(topic, b"after the crash", 2)
    sleeper.disconnect()
    publisher.publish(topic, b"not wanted", 1)
    fresh = Peer("sleeper", clean=True)
    assert not fresh.flags.session_present
    fresh.subscribe(topic, 1)
    publisher.publish(topic, b"last", 1)
    fresh.expect(topic, b"last", 1)


def takeover():
    topic = f"{PREFIX}/takeover"
    first = Peer("same").subscribe(topic)
    second = Peer("same").subscribe(topic, 1)
    assert first.gone.wait(PATIENCE_S), "the older connection stayed"
    second.publish(topic, b"here", 1)
    second.expect(topic, b"here", 1)
    assert first.messages.empty()


def shared():
    topic = f"{PREFIX}/shared"
    members = [Peer(f"member{number}").subscribe(f"$share/group/{topic}", 1) for number in range(3)]
    publisher = Peer("pub")
    publisher.publish_all(topic, numbered(90), 1)
    # What one publisher sent arrives in order at each member: behind one of these, nothing is missing. Two for each.
    publisher.publish_all(topic, [b"last"] * 6, 1)
    received = [list(iter(member.receive_until_last, None)) for member in members]
    assert all(received), f"a member got nothing: {[len(mine) for mine in received]}"
    assert sorted(sum(received, [])) == sorted(numbered(90)), "each message goes to exactly one member"


def properties():
    topic = f"{PREFIX}/properties"
    subscriber, publisher = Peer(""), Peer("pub")
    assert subscriber.properties.AssignedClientIdentifier
    identifier = Properties(PacketTypes.SUBSCRIBE)
    identifier.SubscriptionIdentifier = 42
    subscriber.subscribe(topic, 1, properties=identifier)
    sent = Properties(PacketTypes.PUBLISH)
    sent.PayloadFormatIndicator = 1
    sent.MessageExpiryInterval = 600
    sent.ContentType = "text/plain"
    sent.ResponseTopic = f"{PREFIX}/answers"
    sent.CorrelationData = b"\x00\xff"
    sent.UserProperty = [("b", "2"), ("a", "1"), ("b", "3")]
    publisher.publish(topic, b"with properties", 1, properties=sent)
    got = subscriber.expect(topic, b"with properties", 1).properties
    assert got.PayloadFormatIndicator == 1
    assert 590 <= got.MessageExpiryInterval <= 600, got.MessageExpiryInterval
    assert got.ContentType == "text/plain"
    assert got.ResponseTopic == f"{PREFIX}/answers"
    assert got.CorrelationData == b"\x00\xff"
    assert got.UserProperty == [("b", "2"), ("a", "1"), ("b", "3")], got.UserProperty
    assert got.SubscriptionIdentifier == [42], got.SubscriptionIdentifier


def options():
    """No Local, Retain As Published and Retain Handling."""
    topic = f"{PREFIX}/options"
    deaf = Peer("deaf").subscribe(topic, 1, noLocal=True, retainAsPublished=True)
    other = Peer("other")
    deaf.publish(topic, b"my own", 1)
    other.publish(topic, b"kept", 1, retain=True)
    deaf.expect(topic, b"kept", 1, retain=True)
    never = Peer("never").subscribe(topic, 1, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
    other.publish(topic, b"live", 1)
    never.expect(topic, b"live", 1, retain=False)
    once = Peer("once").subscribe(topic, 1, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)
    once.expect(topic, b"kept", 1, retain=True)
    once.subscribe(topic, 1, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)
    other.publish(topic, b"", 1, retain=True)
    once.expect(topic, b"", 1, retain=False)


def versions_mixed():
    """Each version reads what the other writes."""
    topic = f"{PREFIX}/mixed"
    old, new = Peer("old", version=4).subscribe(topic, 2), Peer("new", version=5).subscribe(topic, 2)
    for qos in range(3):
        for writer in (old, new):
            writer.publish(topic, b"mixed", qos)
            old.expect(topic, b"mixed", qos)
            new.expect(topic, b"mixed", qos)


SCENARIOS = {
    "qos0": lambda: exchange(0),
    "qos1": lambda: exchange(1),
    "qos2": lambda: exchange(2),
    "lower_qos": qos_is_the_lower_one,
    "large": large,
    "wildcards": wildcards,
    "retained": retained,
    "will": will,
    "session": session,
    "takeover": takeover,
    "shared": shared,
    "properties": properties,
    "options": options,
    "versions_mixed": versions_mixed,
}

if __name__ == "__main__":
    HOST, PORT, VERSION, PREFIX = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[5]
    SCENARIOS[sys.argv[4]]()
    print("ok")
