// Node's http: one agent with one socket for the whole plan.
import { createReadStream, readFileSync, statSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { buffer } from 'node:stream/consumers';

const [plan, answers] = process.argv.slice(2);
const agent = new Agent({ keepAlive: true, maxSockets: 1 });

function send(method, url, body, how) {
    const headers = { Authorization: 'Basic Y2xpZW50OmNsaWVudA==' };
    if (how !== 'none') headers['Content-Type'] = 'application/json';
    if (how !== 'none' && how !== 'chunked') headers['Content-Length'] = statSync(body).size;
    if (how === 'expect') headers.Expect = '100-continue';
    return new Promise((resolve, reject) => {
        const call = request(url, { method, headers, agent, timeout: 20_000 }, resolve);
        call.on('error', reject);
        call.on('timeout', () => call.destroy(new Error('no answer')));
        if (how === 'none') call.end();
        else if (how === 'expect') call.on('continue', () => createReadStream(body).pipe(call));
        else createReadStream(body).pipe(call);
    });
}

for (const line of readFileSync(plan, 'utf8').trimEnd().split('\n')) {
    const [step, method, url, body, how] = line.split('\t');
    const answer = await send(method, url, body, how);
    writeFileSync(`${answers}/${step}`, await buffer(answer));
    console.log([step, answer.statusCode, answer.headers['content-type']].join('\t'));
}
agent.destroy();
