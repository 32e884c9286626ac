"""The compute layer: the webhook Lambda behind its URL, the drain Lambda behind the buffer, alarms and dashboard."""

from alarms import make_alarms
from dashboard import make_dashboard
from functions import Functions

from envmig_stacks import contract, provider, settings
from envmig_stacks.naming import Names

layer = settings.load()
names = Names(layer.suffix)
options, _ = provider.explicit(layer)
data = contract.DataOutputs.read(layer)
security = contract.SecurityOutputs.read(layer)

functions = Functions(names, data, security, options)
webhook = functions.webhook()
url = functions.url(webhook)
drain = functions.drain()
functions.drain_source(drain)
functions.validate_schedule(functions.validate())
make_alarms(names, data, options)
make_dashboard(names, layer.region, options)

contract.ComputeOutputs(
    function_url=url.function_url,
    table_arn=data.table_arn,
    webhook_function_name=webhook.name,
    webhook_function_arn=webhook.arn,
    drain_function_name=drain.name,
).export()
