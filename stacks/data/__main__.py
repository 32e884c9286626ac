"""The data layer: the payment records, the buffer before them, and the alerts."""

import pulumi_aws as aws
from alerts import alerts_topic
from buffer import buffer_queue, dead_letter_queue
from transactions import INDEX_NAMES, transactions_table

from envmig_stacks import contract, provider, settings
from envmig_stacks.naming import Arns, Names

layer = settings.load()
names = Names(layer.suffix)
options, lookup = provider.explicit(layer)
arns = Arns(names, aws.get_caller_identity_output(opts=lookup).account_id, layer.region)

table = transactions_table(names, options)
dead_letters = dead_letter_queue(names, options)
buffer = buffer_queue(names, arns, dead_letters, options)
topic = alerts_topic(names, arns, options)

contract.DataOutputs(
    table_name=table.name,
    table_arn=table.arn,
    table_indexes=contract.constant(INDEX_NAMES),
    index_shards=contract.constant(settings.whole_number("indexShards", 8, low=1, high=256)),
    buffer_url=buffer.url,
    buffer_arn=buffer.arn,
    dead_letters_url=dead_letters.url,
    dead_letters_arn=dead_letters.arn,
    alerts_topic_arn=topic.arn,
).export()
