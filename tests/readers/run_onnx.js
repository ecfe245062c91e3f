#!/usr/bin/env node
// ONNX Runtime runs an exported network: all predictions must be those of Y.npy, outputs y within a tolerance times 1 + |y|.
// usage: tests/readers/run_onnx.js MODEL.onnx X.npy Y.npy [TOLERANCE]
//
// X.npy: '|u1' pixels, fed as value / 255, or '<f4', fed as they are. Y.npy: '<f4' logits; for a model that ends with a
// softmax they are turned into probabilities first. Needs the package onnxruntime-node; without it: "skipped". Exit status 1
// on any mismatch.
'use strict';
const fs = require('fs');

const BATCH = 500;

// {data, shape} of a .npy file.
function npyRead(path) {
    const file = fs.readFileSync(path);
    const header = file.subarray(10, 10 + file.readUInt16LE(8)).toString('latin1');
    const descr = /'descr': '([^']*)'/.exec(header)[1];
    const shape = /'shape': \(([^)]*)\)/.exec(header)[1].split(',').filter((s) => s.trim()).map(Number);
    const size = shape.reduce((a, b) => a * b, 1);
    const body = file.subarray(10 + file.readUInt16LE(8));
    const width = { '|u1': 1, '<f4': 4 }[descr];
    if (!width || body.length !== size * width) throw new Error(`${path}: ${descr} ${shape}, ${body.length} bytes`);
    const bytes = Uint8Array.from(body);
    return { shape, data: width === 1 ? Float32Array.from(bytes, (pixel) => pixel / 255) : new Float32Array(bytes.buffer) };
}

function largest(row) {
    return row.reduce((best, value, i) => (value > row[best] ? i : best), 0);
}

function softmax(row) {
    const most = Math.max(...row);
    const exps = Array.from(row, (value) => Math.exp(value - most));
    const sum = exps.reduce((a, b) => a + b, 0);
    return exps.map((value) => value / sum);
}

async function main() {
    const [model, xPath, yPath, tolerance = '1e-4'] = process.argv.slice(2);
    if (!yPath) {
        console.error('usage: tests/readers/run_onnx.js MODEL.onnx X.npy Y.npy [TOLERANCE]');
        return 2;
    }
    let ort;
    try {
        ort = require('onnxruntime-node');
    } catch (error) {
        if (error.code !== 'MODULE_NOT_FOUND') throw error;
        console.log('skipped: no onnxruntime-node');
        return 0;
    }
    const x = npyRead(xPath), y = npyRead(yPath);
    const session = await ort.InferenceSession.create(model);
    const [input] = session.inputNames, [output] = session.outputNames;
    const [count, classes] = y.shape, sample = x.data.length / x.shape[0];
    if (x.shape[0] !== count) throw new Error(`${count} outputs of ${x.shape[0]} samples`);
    const ties = Number(process.env.TIES || 0); // samples that may be apart, see tests/readers/run
    let differ = 0, difference = 0, apart = 0;
    for (let first = 0; first < count; first += BATCH) {
        const n = Math.min(BATCH, count - first);
        const part = x.data.subarray(first * sample, (first + n) * sample);
        const result = (await session.run({ [input]: new ort.Tensor('float32', part, [n, ...x.shape.slice(1)]) }))[output];
        if (result.dims[0] !== n || result.dims[1] !== classes) throw new Error(`${model}: gives ${result.dims}`);
        for (let i = 0; i < n; i++) {
            const found = result.data.subarray(i * classes, (i + 1) * classes);
            const logits = y.data.subarray((first + i) * classes, (first + i + 1) * classes);
            const wanted = output === 'probabilities' ? softmax(logits) : logits;
            const other = largest(found) !== largest(logits);
            let here = 0;
            for (let j = 0; j < classes; j++) {
                here = Math.max(here, Math.abs(found[j] - wanted[j]) / (1 + Math.abs(wanted[j])));
            }
            differ += other;
            apart += other || !(here <= Number(tolerance));
            difference = Math.max(difference, here);
        }
    }
    const good = apart <= ties;
    console.log(`${good ? 'ok' : 'FAILED'}: ${model.replace(/.*\//, '')}: ${output} of ${count} samples: ` +
                `${differ} predictions differ, outputs by at most ${difference.toPrecision(3)}; ` +
                `${apart} samples are apart, allowed ${ties}`);
    return good ? 0 : 1;
}

main().then((status) => { process.exitCode = status; }, (error) => {
    console.error(`FAILED: ${error.message}`);
    process.exitCode = 1;
});
