"""What Lambda hands to a handler beside the event, as far as the measured handlers ask for it."""


class Context:
    aws_request_id = "00000000-0000-0000-0000-000000000000"
    function_name = "envmig-webhook-bench"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:envmig-webhook-bench"

    @staticmethod
    def get_remaining_time_in_millis():
        return 10_000
