// The contract-renewal story by the official TypeScript SDK as it comes from npm: over HTTP and over stdio, in both eras
// of MCP. Arguments: the executable, the envelope, its key, the sidecar's URL, its secret, and edges.
import assert from 'node:assert/strict';
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';

const [remit, envelope, key, url, secret, ...edges] = process.argv.slice(2);
const contract = { customer_id: 'cust_acme_1042', contract_id: 'contract_7781' };
const stdio = () => new StdioClientTransport({
    command: remit,
    args: ['agent', '--envelope', envelope, '--key', key, ...edges.flatMap((edge) => ['--edge', edge]), '--stdio'],
});
const http = (bearer) => new StreamableHTTPClientTransport(new URL(url), {
    requestInit: { headers: { Authorization: `Bearer ${bearer}` } },
});

async function refused(client, name, args, reason) {
    await assert.rejects(client.callTool({ name, arguments: args }), (error) => {
        assert.equal(error.code, -32001, `${error}`);
        assert.equal(error.data?.reason, reason, JSON.stringify(error.data));
        return true;
    });
}

async function story(how, transport, mode) {
    const client = new Client({ name: 'story', version: '0' }, { versionNegotiation: { mode } });
    await client.connect(transport);
    const { tools } = await client.listTools();
    assert.deepEqual(tools.map((tool) => tool.name), ['contracts.read', 'crm.read', 'tickets.create']);
    const read = await client.callTool({ name: 'contracts.read', arguments: contract });
    assert.equal(read.structuredContent.contracts.length, 25);
    assert.ok(read.structuredContent.contracts.every((row) => row.terms && !row.billing));
    const wanted = { customer_id: 'cust_acme_1042', title: 'Renewal of 7781 at risk', body: 'Usage fell by a third.' };
    const ticket = await client.callTool({ name: 'tickets.create', arguments: wanted });
    assert.ok(ticket.structuredContent.ticket.ticket_id);
    await refused(client, 'contracts.read', { customer_id: 'cust_globex_2001', contract_id: 'contract_9001' }, 'out_of_scope');
    await refused(client, 'contracts.read', { ...contract, limit: 1000 }, 'unmapped_argument');
    await refused(client, 'billing.update', { customer_id: 'cust_acme_1042', plan: 'free' }, 'out_of_scope');
    await client.close();
    console.log(`typescript: the story through ${how}, ${mode === 'legacy' ? 'initialize' : 'MCP 2026-07-28'}: ok`);
}

for (const mode of ['legacy', { pin: '2026-07-28' }, 'auto']) {
    await story('--listen', http(secret), mode);
}
for (const mode of ['legacy', 'auto']) {
    await story('--stdio', stdio(), mode);
}

const stranger = new Client({ name: 'stranger', version: '0' });
await assert.rejects(stranger.connect(http(`${secret}x`)));
console.log('typescript: without the secret nobody is let in: ok');
