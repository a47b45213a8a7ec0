// BullMQ's part of the benchmark `queue`.
//
//   node queue.mjs fill PORT JOBS               adds jobs
//   node queue.mjs work PORT JOBS CONCURRENCY   says `ready`, begins when a line comes in, says `done` after so many jobs
//
// It is started in the folder that BullMQ was installed into.

import { createRequire } from 'node:module';
import { once } from 'node:events';
import process from 'node:process';

const { Queue, Worker } = createRequire(process.cwd() + '/')('bullmq');
const [mode, port, jobs, concurrency] = process.argv.slice(2);
const count = Number(jobs);
const connection = { host: '127.0.0.1', port: Number(port), maxRetriesPerRequest: null };
const CHUNK = 1000;

if (mode === 'fill') {
  const queue = new Queue('jobs', { connection });
  for (let from = 0; from < count; from += CHUNK) {
    const numbers = Array.from({ length: Math.min(CHUNK, count - from) }, (_, at) => from + at);
    const opts = { removeOnComplete: true };
    await queue.addBulk(numbers.map((n) => ({ name: 'job', data: { n, text: 'x'.repeat(200) }, opts })));
  }
  await queue.close();
  process.exit(0);
}

const worker = new Worker('jobs', async () => {}, { connection, concurrency: Number(concurrency), autorun: false });
let done = 0;
worker.on('completed', () => {
  done += 1;
  if (done === count) console.log('done');
});
worker.on('failed', (_, error) => {
  console.error(error);
  process.exit(1);
});
await worker.waitUntilReady();
process.stdin.on('end', () => process.exit(0));
console.log('ready');
await once(process.stdin, 'data');
worker.run();
