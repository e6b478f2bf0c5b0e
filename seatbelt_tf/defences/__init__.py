"""What makes a model harder to attack, beyond its penalty: options of the same model and trainer.

A defence is a `Defence` in a file of its own, registered by name, with its options and their
defaults in `settings`; `SeatbeltVAE(defences={"adversarial": {"radius": 8.0}})` has it. They are
combined by naming several. Nothing here imports TensorFlow, so that options can be refused fast.
"""
