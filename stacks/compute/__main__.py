"""The compute layer: the webhook Lambda, its log group and its function URL."""

from functions import log_group, webhook_function, webhook_url

from envmig_stacks import contract, provider, settings
from envmig_stacks.naming import Names

layer = settings.load()
names = Names(layer.suffix)
options, _ = provider.explicit(layer)
data = contract.DataOutputs.read(layer)
security = contract.SecurityOutputs.read(layer)

webhook_logs = log_group(names, "webhook", options)
webhook = webhook_function(names, data, security, webhook_logs, options)
url = webhook_url(webhook, options)

contract.ComputeOutputs(
    function_url=url.function_url,
    table_arn=data.table_arn,
    webhook_function_name=webhook.name,
    webhook_function_arn=webhook.arn,
).export()
