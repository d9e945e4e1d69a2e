"""What a flow run needs because it is a pod.

contact          the first request to Prefect's API, which waits for it
alone            one pod for one flow run
limits           the pod's deadline and scratch limit, noticed before Kubernetes acts
execute          a flow run by Prefect's own command with these around it, where the pod does not start fast
"""
