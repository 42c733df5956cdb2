// Scenarios for MQTT.js: mqtt_js_client.js HOST PORT VERSION SCENARIO PREFIX, where VERSION is 4 (3.1.1) or 5.
//
// Every wait is for an event (CONNACK, SUBACK, the end of a publish, a message) and has a time-out. "Nothing more
// arrives" is proved with a last message: what comes next must be that one.
"use strict";

const assert = require("node:assert/strict");
const mqtt = require("mqtt");

const [HOST, PORT, VERSION, SCENARIO, PREFIX] = process.argv.slice(2);
const IS_V5 = VERSION === "5";
const PATIENCE_MS = 20_000;
const LARGE = Buffer.from(Uint8Array.from({ length: 256 * 1024 }, (_, index) => index * 7 + Math.floor(index / 251)));
const LEVELS = [0, 1, 2];

/** The promise, or a failure that names what was waited for. */
function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: nothing in ${PATIENCE_MS} ms`)), PATIENCE_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** One connection of one client, with the messages that have arrived and nobody has looked at. */
class Peer {
  static async connect(name, { clean = true, will, properties, ...more } = {}) {
    const peer = new Peer();
    peer.waiting = [];
    peer.messages = [];
    peer.client = mqtt.connect({
      host: HOST,
      port: Number(PORT),
      protocolVersion: Number(VERSION),
      clientId: `${PREFIX}-${name}`,
      clean,
      reconnectPeriod: 0,
      will,
      properties: IS_V5 ? properties : undefined,
      ...more,
    });
    // Before CONNACK: what a resumed session has waiting comes right behind it.
    peer.client.on("message", (topic, payload, packet) => {
      const next = peer.waiting.shift();
      const message = { topic, payload, packet };
      if (next) next(message);
      else peer.messages.push(message);
    });
    peer.connack = await within(
      new Promise((resolve, reject) => {
        peer.client.once("connect", resolve);
        peer.client.once("error", reject);
      }),
      "CONNACK",
    );
    return peer;
  }

  async subscribe(filter, qos = 0, options = {}) {
    const granted = await within(this.client.subscribeAsync(filter, { qos, ...options }), `SUBACK for ${filter}`);
    assert.deepEqual(granted.map((grant) => grant.qos), [qos], `SUBACK for ${filter}`);
    return this;
  }

  publish(topic, payload, options = {}) {
    return within(this.client.publishAsync(topic, payload, options), `the end of a publish to ${topic}`);
  }

  /** Many in flight together: all in 3.1.1, in 5 as many as the broker allows, which this client leaves to us. */
  async publishAll(topic, payloads, qos) {
    const burst = IS_V5 ? (this.connack.properties?.receiveMaximum ?? 65_535) : payloads.length;
    for (let start = 0; start < payloads.length; start += burst) {
      const together = payloads.slice(start, start + burst);
      await Promise.all(together.map((payload) => this.publish(topic, payload, { qos })));
    }
  }

  receive() {
    const message = this.messages.shift();
    const next = message ? Promise.resolve(message) : new Promise((resolve) => this.waiting.push(resolve));
    return within(next, "a message");
  }

  async expect(topic, payload, { qos, retain } = {}) {
    const message = await this.receive();
    assert.equal(message.topic, topic);
    // Not deepEqual for the large ones: its report would be larger still.
    const wanted = Buffer.from(payload);
    const same = message.payload.equals(wanted);
    assert.ok(same, `${message.payload.subarray(0, 40)} (${message.payload.length}) instead of ${wanted.subarray(0, 40)}`);
    if (qos !== undefined) assert.equal(message.packet.qos, qos, `QoS of ${topic}`);
    if (retain !== undefined) assert.equal(message.packet.retain, retain, `RETAIN of ${topic}`);
    return message;
  }

  disconnect() {
    return within(this.client.endAsync(), "the end of a connection");
  }

  /** The connection ends without DISCONNECT. */
  crash() {
    const closed = new Promise((resolve) => this.client.once("close", resolve));
    this.client.stream.destroy();
    return within(closed, "the end of a connection");
  }
}

const numbered = (count) => Array.from({ length: count }, (_, number) => `message ${number}`);

async function exchange(qos) {
  const topic = `${PREFIX}/exchange`;
  const subscriber = await (await Peer.connect("sub")).subscribe(topic, qos);
  const publisher = await Peer.connect("pub");
  await publisher.publishAll(topic, numbered(200), qos);
  await publisher.publish(topic, "last", { qos });
  for (const payload of numbered(200)) await subscriber.expect(topic, payload, { qos, retain: false });
  await subscriber.expect(topic, "last", { qos });
}

const SCENARIOS = {
  qos0: () => exchange(0),
  qos1: () => exchange(1),
  qos2: () => exchange(2),

  async large() {
    const topic = `${PREFIX}/large`;
    const subscriber = await (await Peer.connect("sub")).subscribe(topic, 2);
    const publisher = await Peer.connect("pub");
    for (const qos of LEVELS) {
      await publisher.publish(topic, LARGE, { qos });
      await subscriber.expect(topic, LARGE, { qos });
      await publisher.publish(topic, "after", { qos });
      await subscriber.expect(topic, "after", { qos });
    }
  },

  async wildcards() {
    const subscriber = await Peer.connect("sub");
    const publisher = await Peer.connect("pub");
    await subscriber.subscribe(`${PREFIX}/+/b`, 1);
    await subscriber.subscribe(`${PREFIX}/deep/#`, 1);
    for (const topic of ["a/x", "a/b/c", "other"]) await publisher.publish(`${PREFIX}/${topic}`, "not wanted", { qos: 1 });
    for (const topic of ["a/b", "z/b", "deep", "deep/a/b/c"]) {
      await publisher.publish(`${PREFIX}/${topic}`, topic, { qos: 1 });
      await subscriber.expect(`${PREFIX}/${topic}`, topic, { qos: 1 });
    }
    await within(subscriber.client.unsubscribeAsync(`${PREFIX}/deep/#`), "UNSUBACK");
    await publisher.publish(`${PREFIX}/deep/a`, "not wanted", { qos: 1 });
    await publisher.publish(`${PREFIX}/last/b`, "last", { qos: 1 });
    await subscriber.expect(`${PREFIX}/last/b`, "last");
  },

  async retained() {
    const topic = `${PREFIX}/retained`;
    const publisher = await Peer.connect("pub");
    const early = await (await Peer.connect("early")).subscribe(topic, 1);
    await publisher.publish(topic, "old", { qos: 1, retain: true });
    await publisher.publish(topic, "new", { qos: 1, retain: true });
    await early.expect(topic, "old", { retain: false });
    await early.expect(topic, "new", { retain: false });
    const late = await (await Peer.connect("late")).subscribe(topic, 1);
    await late.expect(topic, "new", { retain: true });
    await publisher.publish(topic, "", { qos: 1, retain: true });
    await late.expect(topic, "", { retain: false });
    const latest = await (await Peer.connect("latest")).subscribe(topic, 1);
    await publisher.publish(topic, "last", { qos: 1 });
    await latest.expect(topic, "last", { retain: false });
  },

  async will() {
    const topic = `${PREFIX}/will`;
    const watcher = await (await Peer.connect("watcher")).subscribe(topic, 2);
    for (const qos of LEVELS) {
      const will = { topic, payload: Buffer.from(`gone ${qos}`), qos, retain: false };
      await (await Peer.connect("dying", { will })).crash();
      await watcher.expect(topic, `gone ${qos}`, { qos, retain: false });
    }
    const unwanted = { topic, payload: Buffer.from("not wanted"), qos: 1, retain: false };
    await (await Peer.connect("leaving", { will: unwanted })).disconnect();
    await watcher.publish(topic, "last", { qos: 1 });
    await watcher.expect(topic, "last");
  },

  async session() {
    const topic = `${PREFIX}/session`;
    const lasting = { clean: false, properties: { sessionExpiryInterval: 300 } };
    let sleeper = await Peer.connect("sleeper", lasting);
    assert.equal(sleeper.connack.sessionPresent, false);
    await sleeper.subscribe(topic, 2);
    await sleeper.disconnect();
    const publisher = await Peer.connect("pub");
    for (let number = 0; number < 60; number += 1) await publisher.publish(topic, `${number}`, { qos: 1 + (number % 2) });
    sleeper = await Peer.connect("sleeper", lasting);
    assert.equal(sleeper.connack.sessionPresent, true, "the session was lost");
    // This client shows a QoS 2 message when its PUBREL comes: the order holds within each QoS.
    const got = [];
    for (let number = 0; number < 60; number += 1) got.push(await sleeper.receive());
    for (const qos of [1, 2]) {
      const numbers = got.filter(({ packet }) => packet.qos === qos).map(({ payload }) => Number(`${payload}`));
      assert.deepEqual(numbers, Array.from({ length: 30 }, (_, index) => 2 * index + qos - 1), `QoS ${qos}`);
    }
    // With the acknowledgement of this one, those for the messages above have been sent, too: nothing is to come twice.
    await sleeper.publish(`${PREFIX}/other`, "", { qos: 1 });
    await sleeper.crash();
    await publisher.publish(topic, "after the crash", { qos: 2 });
    sleeper = await Peer.connect("sleeper", lasting);
    assert.equal(sleeper.connack.sessionPresent, true, "the session was lost with the connection");
    await sleeper.expect(topic, "after the crash", { qos: 2 });
    await sleeper.disconnect();
    const fresh = await Peer.connect("sleeper");
    assert.equal(fresh.connack.sessionPresent, false);
  },

  async shared() {
    const topic = `${PREFIX}/shared`;
    const members = [];
    for (const number of [0, 1, 2]) {
      members.push(await (await Peer.connect(`member${number}`)).subscribe(`$share/group/${topic}`, 1));
    }
    const publisher = await Peer.connect("pub");
    await publisher.publishAll(topic, numbered(90), 1);
    // What one publisher sent arrives in order at each member: behind one of these, nothing is missing. Two for each.
    await publisher.publishAll(topic, Array(6).fill("last"), 1);
    const received = [];
    for (const [number, member] of members.entries()) {
      const before = received.length;
      for (;;) {
        const { payload } = await member.receive();
        if (`${payload}` === "last") break;
        received.push(`${payload}`);
      }
      assert.ok(received.length > before, `member ${number} got nothing`);
    }
    assert.deepEqual(received.sort(), numbered(90).sort(), "each message goes to exactly one member");
  },

  async properties() {
    const topic = `${PREFIX}/properties`;
    const subscriber = await Peer.connect("sub");
    await subscriber.subscribe(topic, 1, { properties: { subscriptionIdentifier: 7 } });
    const sent = {
      payloadFormatIndicator: true,
      messageExpiryInterval: 600,
      contentType: "text/plain",
      responseTopic: `${PREFIX}/answers`,
      correlationData: Buffer.from([0, 255]),
      userProperties: { b: ["2", "3"], a: "1" },
    };
    await subscriber.publish(topic, "with properties", { qos: 1, properties: sent });
    const { packet } = await subscriber.expect(topic, "with properties", { qos: 1 });
    const got = packet.properties;
    assert.equal(got.payloadFormatIndicator, true);
    assert.ok(got.messageExpiryInterval > 590 && got.messageExpiryInterval <= 600, `${got.messageExpiryInterval}`);
    assert.equal(got.contentType, "text/plain");
    assert.equal(got.responseTopic, `${PREFIX}/answers`);
    assert.deepEqual(got.correlationData, Buffer.from([0, 255]));
    assert.deepEqual({ ...got.userProperties }, { b: ["2", "3"], a: "1" });
    assert.equal(got.subscriptionIdentifier, 7);
  },

  /** Aliases in both directions: this client makes its own, and allows the broker to make some. */
  async topic_alias() {
    const subscriber = await Peer.connect("sub", { properties: { topicAliasMaximum: 4 } });
    const publisher = await Peer.connect("pub", { autoUseTopicAlias: true, autoAssignTopicAlias: true });
    await subscriber.subscribe(`${PREFIX}/#`, 1);
    for (let round = 0; round < 5; round += 1) {
      for (let number = 0; number < 40; number += 1) {
        await publisher.publish(`${PREFIX}/${number}`, `${round}`, { qos: 1 });
        await subscriber.expect(`${PREFIX}/${number}`, `${round}`);
      }
    }
  },
};

SCENARIOS[SCENARIO]().then(
  () => {
    console.log("ok");
    process.exit(0);
  },
  (error) => {
    console.log(error.stack);
    process.exit(1);
  },
);
