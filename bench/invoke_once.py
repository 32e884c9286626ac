"""One cold start: imports the handler, handles the event from standard input, and prints the times last."""

import sys
import time

began = time.clock_gettime(time.CLOCK_MONOTONIC)
handler = __import__(sys.argv[1], fromlist=["handler"]).handler
ready = time.clock_gettime(time.CLOCK_MONOTONIC)


class Context:
    aws_request_id = "00000000-0000-0000-0000-000000000000"
    function_name = "envmig-webhook-bench"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:envmig-webhook-bench"

    @staticmethod
    def get_remaining_time_in_millis():
        return 10_000


import json

event = json.load(sys.stdin)
asked = time.clock_gettime(time.CLOCK_MONOTONIC)
answer = handler(event, Context())
done = time.clock_gettime(time.CLOCK_MONOTONIC)
assert answer["statusCode"] == 200, answer
assert json.loads(answer["body"])["outcome"] == "stored", answer
print(json.dumps({"began": began, "ready": ready, "asked": asked, "done": done}))
