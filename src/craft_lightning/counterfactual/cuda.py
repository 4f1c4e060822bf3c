def rollout(*a):
    raise NotImplementedError
