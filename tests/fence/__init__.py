"""The fence against programs that want out, with listeners outside who note who arrived."""
