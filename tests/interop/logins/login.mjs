// Node's fetch, with a form that URLSearchParams makes, and a check of the answer's members and types.
const [base, order] = process.argv.slice(2);

async function call(step, method, path, credential, body, type) {
    const headers = { Authorization: credential, ...(type && { 'Content-Type': type }) };
    const answer = await fetch(base + path, { method, headers, body, signal: AbortSignal.timeout(20_000) });
    console.log([step, answer.status, answer.headers.get('content-type')].join('\t'));
    return answer.text();
}

const form = new URLSearchParams({ grant_type: 'password', username: 'machine', password: 'påss' });
const basic = `Basic ${Buffer.from('client:secret').toString('base64')}`;
const token = JSON.parse(await call('login', 'POST', '/oauth/v2/token', basic, form));
if (Object.keys(token).join() !== 'access_token,expires_in' || !Object.values(token).every((value) => typeof value === 'string')) {
    throw new Error('not a token');
}
const bearer = `Bearer ${token.access_token}`;
await call('list', 'GET', '/corporate-accounts/v2/accounts', bearer);
await call('order', 'POST', '/corporate-mobile-subscriptions/v2/orders', bearer, order, 'application/json');
if ((await call('logout', 'GET', '/oauth/v2/logout', bearer)) !== 'OK!') {
    throw new Error('not logged out');
}
