#!/usr/bin/env node
// Time of one ONNX Runtime call on one thread, by batch, as JSON on stdout. usage: tests/bench/onnx.js MODEL.onnx BATCHES SECONDS
//
// BATCHES: "1,64,256"; SECONDS for each. Runs many short windows of calls; a window's time is the lower of the clock's and
// the process's, so that neither other programs nor node's own threads count; the median window is given. Tensors are made
// beforehand. us_call_alone: the same for a network of one number. Needs the package onnxruntime-node.
'use strict';

const POOL = 256, NONZERO = 0.19, WINDOW_MS = 5, WINDOWS_MIN = 11;

// --- a network of one number, as ONNX's protobuf -----------------------------------------------------------------------

const varint = (field, value) => [field << 3, value];
const bytes = (field, content) => [field << 3 | 2, content.length, ...content];
const text = (field, string) => bytes(field, Buffer.from(string));

// relu of a float [1]: nothing that could take time. Numbers are those of onnx.proto, messages all shorter than 128 bytes.
function reluModel() {
    const shape = bytes(2, bytes(1, varint(1, 1)));
    const value = (name) => [...text(1, name), ...bytes(2, bytes(1, [...varint(1, 1), ...shape]))];
    const node = [...text(1, 'x'), ...text(2, 'y'), ...text(4, 'Relu')];
    const graph = [...bytes(1, node), ...text(2, 'one'), ...bytes(11, value('x')), ...bytes(12, value('y'))];
    return Buffer.from([...varint(1, 8), ...bytes(7, graph), ...bytes(8, varint(2, 13))]);
}

// --- measuring ---------------------------------------------------------------------------------------------------------

const median = (numbers) => [...numbers].sort((a, b) => a - b)[numbers.length >> 1];

// Milliseconds of `calls` runs that take the feeds in turn.
async function windowTime(session, feeds, calls) {
    const cpu = process.cpuUsage(), start = process.hrtime.bigint();
    for (let i = 0; i < calls; i++) await session.run(feeds[i % feeds.length]);
    const wall = Number(process.hrtime.bigint() - start) / 1e6, used = process.cpuUsage(cpu);
    return Math.min(wall, (used.user + used.system) / 1e3);
}

// Microseconds of one run.
async function callTime(session, feeds, seconds) {
    let calls = feeds.length; // for warming up, too
    for (let i = 0; i < 3; i++) await windowTime(session, feeds, calls);
    calls = Math.max(1, Math.ceil(calls * WINDOW_MS / await windowTime(session, feeds, calls)));
    const times = [], end = process.hrtime.bigint() + BigInt(Math.round(seconds * 1e9));
    while (times.length < WINDOWS_MIN || process.hrtime.bigint() < end)
        times.push(await windowTime(session, feeds, calls) * 1e3 / calls);
    return median(times);
}

function feedsMake(ort, session, batch) {
    const { name, shape } = session.inputMetadata[0], sample = shape.slice(1);
    const size = sample.reduce((a, b) => a * b, 1), feeds = [];
    for (let i = 0; i < Math.max(1, Math.floor(POOL / batch)); i++) {
        const pixels = Float32Array.from({ length: batch * size }, () => (Math.random() < NONZERO ? Math.random() : 0));
        feeds.push({ [name]: new ort.Tensor('float32', pixels, [batch, ...sample]) });
    }
    return feeds;
}

async function main() {
    const [model, batches, seconds] = process.argv.slice(2);
    if (!(Number(seconds) > 0) || !batches.split(',').every((batch) => Number.isInteger(+batch) && +batch > 0)) {
        console.error('usage: tests/bench/onnx.js MODEL.onnx BATCHES SECONDS');
        return 2;
    }
    const ort = require('onnxruntime-node');
    const options = { intraOpNumThreads: 1, interOpNumThreads: 1, executionMode: 'sequential' };
    const session = await ort.InferenceSession.create(model, options), rows = [];
    for (const batch of batches.split(',').map(Number))
        rows.push({ batch, us_per_call: await callTime(session, feedsMake(ort, session, batch), Number(seconds)) });
    const one = await ort.InferenceSession.create(reluModel(), options);
    const alone = await callTime(one, [{ x: new ort.Tensor('float32', [1], [1]) }], Number(seconds));
    const { version } = require('onnxruntime-node/package.json');
    console.log(JSON.stringify({ version, node: process.version, us_call_alone: alone, batches: rows }));
    return 0;
}

main().then((status) => { process.exitCode = status; }, (error) => {
    console.error(`tests/bench/onnx.js: ${error.message.split('\n')[0]}`);
    process.exitCode = 1;
});
